// Package opening holds what an open, a read and a stat of a mount promise:
// the right bytes at once, for as many readers and however files are replaced.
package opening
