// Package systemd runs kmsfs on machines that a real systemd has booted: units,
// mount units, and the tests of a mount once more as tests of a service.
package systemd
