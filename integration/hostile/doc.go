// Package hostile holds a source, names and users that mean harm, and a machine
// that runs out of descriptors.
package hostile
