// Command idle does nothing, for ever, whatever it is told.
package main

import "time"

func main() {
	for {
		time.Sleep(time.Hour)
	}
}
