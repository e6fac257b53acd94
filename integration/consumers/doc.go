// Package consumers runs real programs that serve with a private key from a
// mount, through rotations and refusals.
package consumers
