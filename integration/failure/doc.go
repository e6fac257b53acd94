// Package failure holds what readers get when the key service refuses, hangs or
// is away, and how soon they get more when it is back.
package failure
