package mount

import (
	"os"
	"strconv"
	"testing"
)

// Only a descriptor of /dev/fuse is one that was handed in, by its one name.
func TestHandedInDescriptorIsReadFromItsPath(t *testing.T) {
	if device, _, err := HandedIn("/run/certs"); device != nil || err != nil {
		t.Errorf("a directory: %v, %v", device, err)
	}
	file, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	number := strconv.Itoa(int(file.Fd()))
	for _, point := range []string{number, "0" + number, "0", "", "x", "-1", "999999"} {
		point = DevFD + point
		if _, _, err := HandedIn(point); err == nil || err.Error() != "open mountpoint "+strconv.Quote(point)+": no descriptor of /dev/fuse" {
			t.Errorf("%s: %v", point, err)
		}
	}
}
