// Package succession holds what readers see when the process that serves them is
// killed, reloaded or replaced: another one, and a short wait.
package succession
