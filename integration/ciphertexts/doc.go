// Package ciphertexts holds what the bytes of a .cipher file may be: generations
// of keys, layouts, encodings and contexts, and the keys that a mount allows.
package ciphertexts
