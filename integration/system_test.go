package integration_test

import (
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"
)

func itoa[T ~int | ~uint32 | ~uintptr](n T) string { return strconv.FormatUint(uint64(n), 10) }

// kernelOlderThan compares the running kernel's version.
func kernelOlderThan(major, minor int) bool {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return false
	}
	var a, b int
	if n, _ := fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &a, &b); n != 2 {
		return false
	}
	return a < major || a == major && b < minor
}
