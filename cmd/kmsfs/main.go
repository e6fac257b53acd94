// Command kmsfs mounts a directory of *.cipher files and serves their
// plaintext, decrypted through Alibaba Cloud KMS; it also makes and opens such
// files. See kmsfs --help.
package main

import (
	"context"
	"os"
)

func main() {
	os.Exit(run(context.Background(), system()))
}
