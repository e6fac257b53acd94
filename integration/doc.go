// Package integration holds black-box tests: the built programs, a real
// emulator process, real mounts, real clients. Nothing here is linked into
// the product.
package integration
