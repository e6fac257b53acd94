// Package churn does to a mount all that happens to mounts, at random moments and
// while much else happens, and asks one thing: does anybody hang?
package churn
