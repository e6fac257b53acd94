// Package blobs knows what the bytes of a .cipher file are, without the network:
// blob.go has the layouts of a CiphertextBlob, unwrap.go what is taken off around
// one, and otherwise.go names what a file is instead.
package blobs
