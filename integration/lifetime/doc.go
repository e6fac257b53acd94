// Package lifetime holds for how long a plaintext is there: its TTL, reloads in
// the background, and flush.
package lifetime
