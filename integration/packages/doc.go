// Package packages holds the Debian package: what is in it, and what installing,
// upgrading and removing it do.
package packages
