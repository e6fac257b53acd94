// Package integration holds black-box tests: the built programs, a real
// emulator process, real mounts, real clients. Each folder with a main_test.go is
// a theme; this one holds the rules of the house, and what README says and promises. Nothing
// here is linked into the product.
package integration
