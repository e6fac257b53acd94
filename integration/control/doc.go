// Package control holds the control socket of a mount, and what status tells.
package control
