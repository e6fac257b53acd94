// Package secrecy looks for plaintext where none must be: in memory, cores, swap
// and on the disk.
package secrecy
