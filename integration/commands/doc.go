// Package commands holds the commands that need no mount: encrypt, decrypt and
// verify, and what each says of what a user gets wrong.
package commands
