package ciphertexts_test

import (
	"encoding/base64"
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/kmsfs/kmsfs/integration/harness"
)

// encoding=auto decodes base64 of a PEM, in lines or not, and nothing else;
// encoding=base64 decodes everything, and says why not. Sizes are exact, also
// of files that nobody has opened.
func TestAutoDecodesAPEMAndNothingElse(t *testing.T) {
	harness.EachMode(t, func(t *testing.T, mode string) {
		l := harness.NewLab(t)
		pem, err := harness.Run("openssl", "genpkey", "-algorithm", "ed25519")
		if err != nil {
			t.Fatal(err)
		}
		flat := base64.StdEncoding.EncodeToString([]byte(pem))
		texts := map[string]string{
			"pem": pem, "flat": flat, "gnu": wrapped(flat, 76, "\n"), "pem64": wrapped(flat, 64, "\n"), "crlf": wrapped(flat, 76, "\r\n"),
			"root": "root", "rootflat": "cm9vdA==", "ragged": flat[:30] + "\n" + flat[30:],
		}
		auto := map[string]string{"pem": pem, "flat": pem, "gnu": pem, "pem64": pem, "crlf": pem, "root": "root", "rootflat": "cm9vdA==", "ragged": texts["ragged"]}
		source := t.TempDir()
		for name, text := range texts {
			harness.Put(t, source+"/"+name+".cipher", harness.Seal(t, l, text))
		}
		m := harness.Mount(t, l, source, mode, "encoding=auto")
		for name, want := range auto {
			if st, err := os.Stat(m.Path(name)); err != nil || st.Size() != int64(len(want)) {
				t.Errorf("auto, %s: %v, %v; want %d bytes", name, st, err, len(want))
			}
			if got := harness.Read(t, m.Path(name)); got != want {
				t.Errorf("auto, %s reads %q", name, got)
			}
			if got, err := l.Kmsfs(nil, "decrypt", "--encoding", "auto", m.InSource(name+".cipher")); err != nil || got != want {
				t.Errorf("auto, decrypt %s: %q, %v", name, got, err)
			}
		}
		m.Stop(t)

		m = harness.Mount(t, l, source, mode, "encoding=base64")
		for name, text := range map[string]string{"flat": pem, "gnu": pem, "pem64": pem, "crlf": pem, "rootflat": "root", "root": string([]byte{0xae, 0x8a, 0x2d})} {
			if got := harness.Read(t, m.Path(name)); got != text {
				t.Errorf("base64, %s reads %q", name, got)
			}
		}
		for name, why := range map[string]string{"pem": "it is a PEM itself", "ragged": "its lines are not equally long"} {
			if b, err := os.ReadFile(m.Path(name)); !errors.Is(err, syscall.EBADMSG) {
				t.Errorf("base64, %s: %q, %v", name, b, err)
			}
			m.WaitLog(t, "path="+name+".cipher", why)
			o := harness.RunCommand(t, l.Command("verify", "--encoding", "base64", source))
			if !strings.Contains(o.Stdout, why) {
				t.Errorf("verify says\n%s", o.Stdout)
			}
		}
		m.Stop(t)

		m = harness.Mount(t, l, source, mode)
		const note = "this is base64 of a PEM: encoding=auto serves the PEM itself"
		if got := harness.Read(t, m.Path("flat")); got != flat {
			t.Errorf("raw, flat reads %q", got)
		}
		for _, name := range []string{"pem", "root", "rootflat"} {
			harness.Read(t, m.Path(name))
		}
		m.WaitLog(t, "level=WARN", "flat: "+note)
		harness.Read(t, m.Path("flat"))
		if out, err := l.Kmsfs(nil, "status", m.Point); err != nil || strings.Count(out, note) != 1 {
			t.Errorf("status: %v\n%s", err, out)
		}
		if o := harness.RunCommand(t, l.Command("verify", source)); o.Code != 0 || strings.Count(o.Stdout, note) != 4 || strings.Count(o.Stdout, "\n") != len(texts) {
			t.Errorf("verify: %d\n%s", o.Code, o.Stdout)
		}
	})
}
