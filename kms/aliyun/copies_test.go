package aliyun

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"github.com/kmsfs/kmsfs/kms"
	"github.com/kmsfs/kmsfs/kms/aliyun/cloudtest"
)

// The marks are assembled at run time, so that no constant of the program
// counts as a copy. They need no escaping in a URL, so that every copy the SDK
// makes is found.
func mark(n int) []byte { return bytes.Repeat([]byte("MARK"+strconv.Itoa(n)), 200) }

// copiesInMemory counts the stretches of this process's memory that hold a
// mark. It keeps no pattern in memory and skips its own buffer, so that it does
// not count itself.
func copiesInMemory(n int) (int, error) {
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return 0, err
	}
	mem, err := os.Open("/proc/self/mem")
	if err != nil {
		return 0, err
	}
	defer mem.Close()
	count := 0
	for line := range strings.Lines(string(maps)) {
		var from, to uint64
		var perm string
		if _, err := fmt.Sscanf(line, "%x-%x %s", &from, &to, &perm); err != nil || !strings.HasPrefix(perm, "rw") {
			continue
		}
		found := 0 // bytes of the mark in a row
		for at := from; at < to; at += uint64(len(look)) {
			m, _ := mem.ReadAt(look[:min(uint64(len(look)), to-at)], int64(at))
			self := uint64(uintptr(unsafe.Pointer(&look)))
			for i, b := range look[:m] {
				switch here := at + uint64(i); {
				case self <= here && here < self+uint64(len(look)):
					found = 0
				case b == "MARK"[min(found%5, 3)] && found%5 < 4, found%5 == 4 && b == byte('0'+n):
					if found++; found == 100 {
						count++
					}
				case b == 'M':
					found = 1
				default:
					found = 0
				}
			}
		}
	}
	return count, nil
}

var look [1 << 16]byte

// runCopies is the measuring process: the server is another one.
func runCopies(endpoint, step string) {
	c, err := New(Config{
		Region: "r", Endpoint: endpoint, CAFile: os.Getenv("KMSFS_TEST_CA"),
		Credentials: someKey,
	})
	if err != nil {
		fmt.Println("new:", err)
		return
	}
	ctx := context.Background()
	if step == "decrypt" {
		var d *kms.Decrypted
		if d, err = c.Decrypt(ctx, kms.Blob{Text: canaryBlob}, nil); err == nil {
			if len(d.Plaintext) != 1000 {
				fmt.Println("length", len(d.Plaintext))
			}
			d.Wipe()
		}
	} else {
		p := mark(2)
		_, err = c.Encrypt(ctx, keyID, p, nil)
		clear(p)
	}
	if err != nil {
		fmt.Println("call:", err)
		return
	}
	before, err := copiesInMemory(map[string]int{"decrypt": 1, "encrypt": 2}[step])
	c.Close()
	runtime.GC()
	runtime.GC()
	after, _ := copiesInMemory(map[string]int{"decrypt": 1, "encrypt": 2}[step])
	fmt.Println("copies", before, after, err)
}

// What is left of a plaintext in memory after its owner has wiped it. For
// Decrypt it must stay at what the buffers of crypto/tls and net/http hold; for
// Encrypt the number is only told.
func TestCopiesOfPlaintext(t *testing.T) {
	if info, ok := debug.ReadBuildInfo(); ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		t.Skip("the race detector keeps gigabytes of its own to search")
	}
	_, s := service(t, func(w http.ResponseWriter, r *http.Request) {
		r.ParseForm()
		if r.Form.Get("Action") == "Encrypt" {
			cloudtest.Answering(200, encryptAnswer("dW5rbm93biBsYXlvdXQ="))(w, r)
			return
		}
		cloudtest.Answering(200, cloudtest.DecryptAnswer(string(mark(1))))(w, r)
	})
	for _, step := range []string{"decrypt", "encrypt"} {
		out := child(t, s.Listener.Addr().String(), "KMSFS_TEST_CA="+caFile(t, s), "KMSFS_TEST_COPIES="+step)
		var before, after int
		var rest string
		if _, err := fmt.Sscan(out, new(string), &before, &after, &rest); err != nil || !strings.HasPrefix(out, "copies ") || rest != "<nil>" {
			t.Skipf("memory cannot be read here: %s", out)
		}
		t.Logf("%s: %d copies after the wipe, %d after Close and garbage collection", step, before, after)
		if step == "decrypt" && before > 3 {
			t.Errorf("%d copies of a decrypted plaintext after its wipe", before)
		}
	}
}
