// Command kmsfs mounts a directory of *.cipher files and serves their
// plaintext, decrypted through Alibaba Cloud KMS; it also makes and opens such
// files. See kmsfs --help.
package main

import (
	"context"
	"os"
	"runtime"
)

// The first thread does nothing but wait. The kernel gives it the signals of
// the process, and if it hung in a file system that does not answer, SIGTERM
// would have to wait as well.
func init() { runtime.LockOSThread() }

func main() {
	code := make(chan int)
	go func() { code <- run(context.Background(), system()) }()
	os.Exit(<-code)
}
