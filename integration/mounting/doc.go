// Package mounting holds the ways to mount and to unmount: kmsfs mount, mount(8),
// fstab, and users without privileges.
package mounting
