// Package harness is what the tests of all themes share: the lab and its keys, a
// mount in each of its three forms (a foreground process, a background one, a
// unit), hosts and guests, servers that use a mount, and the one way to wait.
//
// A package of tests hands itself to Main. Main builds the programs, and fails
// when a test leaves a mount, a process or a file behind.
package harness
