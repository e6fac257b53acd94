// Package programs runs some hundred ordinary programs on a mount and on a plain
// directory with the same files: they must not see a difference.
package programs
