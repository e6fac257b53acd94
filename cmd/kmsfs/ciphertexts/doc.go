// Package ciphertexts is about *.cipher files outside of a mount: it makes them,
// opens them, and says what a mount would answer. It knows neither a command line
// nor how to reach the key service, which is brought to it.
package ciphertexts
