package mountpoint

import (
	"os"

	"github.com/kmsfs/kmsfs/cmd/kmsfs/ui"
)

// seenByHost refuses to mount where nobody would see it: systemd gives a
// service with PrivateTmp=, ProtectSystem= and the like a mount namespace of
// its own, and the service would run and be of no use.
func seenByHost(point string, getenv func(string) string) error {
	// Somebody else who unshares knows what it is for.
	started := getenv("INVOCATION_ID") != "" && os.Getppid() == 1 || getenv("NOTIFY_SOCKET") != ""
	if !started {
		return nil
	}
	own, err := os.Readlink("/proc/self/ns/mnt")
	if err != nil {
		return nil
	}
	host, err := os.Readlink("/proc/1/ns/mnt")
	if err != nil || own == host {
		return nil // systemd's is readable by root only
	}
	return ui.Failf("mount %s: this service has a mount namespace of its own, nobody else would see the mount", ui.Quote(point)).
		Hint("remove PrivateTmp=, PrivateMounts=, PrivateDevices=, ProtectSystem=, ProtectHome=, ProtectKernel…=, " +
			"ProtectControlGroups=, ProtectProc= and ReadOnlyPaths= from the unit; kmsfs@.service is a sandbox that works")
}
