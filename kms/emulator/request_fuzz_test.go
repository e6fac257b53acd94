package emulator

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/kms/emulator/account"
	"github.com/kmsfs/kmsfs/kms/emulator/wire"
)

// fuzzEndpoint has no listener.
func fuzzEndpoint(instance bool) *endpoint {
	return &endpoint{instance: instance, leaf: new(x509.Certificate)}
}

// fuzzServer answers without a network.
type fuzzServer struct {
	*Server
	state string // its file
	began []byte // what is in the file in the beginning
}

func newFuzzServer(f *testing.F) *fuzzServer {
	s := &fuzzServer{state: filepath.Join(f.TempDir(), "state"), Server: &Server{
		log: log.New(io.Discard, "", 0), region: "cn-hangzhou", auth: wire.NewAuthenticator("ak", "sk"),
	}}
	s.open(f)
	f.Cleanup(func() { s.account.Close() })
	return s
}

func (s *fuzzServer) open(t testing.TB) {
	t.Helper()
	var err error
	s.account, err = account.Open(s.state, account.Options{Region: s.region, Generation: account.SharedGeneration, NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
}

// reopen closes the state file, changes it and opens it again.
func (s *fuzzServer) reopen(t testing.TB, change func() error) {
	t.Helper()
	if err := s.account.Close(); err != nil {
		t.Fatal(err)
	}
	if err := change(); err != nil {
		t.Fatal(err)
	}
	s.open(t)
}

// signRPC and signACS3 are a client's own reading of the two signature rules, on
// purpose apart from the server's code.
func signRPC(method string, p wire.Params) string {
	rfc3986 := func(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }
	v := url.Values{}
	for name, value := range p {
		if name != "Signature" {
			v.Set(name, value)
		}
	}
	mac := hmac.New(sha1.New, []byte("sk&"))
	io.WriteString(mac, method+"&%2F&"+rfc3986(strings.ReplaceAll(v.Encode(), "+", "%20")))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

func signACS3(r *http.Request, names, body string) string {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return "" // it is refused anyhow
	}
	text := r.Method + "\n/\n" + strings.ReplaceAll(query.Encode(), "+", "%20") + "\n"
	for name := range strings.SplitSeq(names, ";") {
		value := r.Header.Get(name)
		if name == "host" {
			value = r.Host
		}
		text += name + ":" + strings.TrimSpace(value) + "\n"
	}
	text += "\n" + names + "\n" + sha256Hex(body)
	mac := hmac.New(sha256.New, []byte("sk"))
	io.WriteString(mac, "ACS3-HMAC-SHA256\n"+sha256Hex(text))
	return hex.EncodeToString(mac.Sum(nil))
}

func sha256Hex(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

// Whatever a client sends, signed or not, there is an answer, and it is well
// formed in the format that its content type says: a success with a request id,
// or an error with a code of the catalogue and its status.
func FuzzRequest(f *testing.F) {
	s := newFuzzServer(f)
	made, err := s.account.Perform("CreateKey", false, nil)
	if err != nil {
		f.Fatal(err)
	}
	id := made["KeyMetadata"].(map[string]string)["KeyId"]
	sealed, err := s.account.Perform("Encrypt", false, wire.Params{"KeyId": id, "Plaintext": "a\x00b"})
	if err != nil {
		f.Fatal(err)
	}
	s.reopen(f, func() (err error) {
		s.began, err = os.ReadFile(s.state)
		return err
	})
	form := "application/x-www-form-urlencoded"
	f.Add("POST", "Action=Encrypt&Plaintext=x&KeyId=KEY", "", "", "", byte(1))
	f.Add("GET", "Action=Decrypt&Format=XML&CiphertextBlob="+url.QueryEscape(sealed["CiphertextBlob"].(string)), "", "", "", byte(1))
	f.Add("POST", "", "Action=ListKeys&Format=xml&Filters=[{}]", form, "", byte(1))
	f.Add("POST", "KeyId=KEY", "PageSize=1", form, "DescribeKey", byte(2))
	f.Add("POST", "Tags=[{\"TagKey\":\"a\"}]&KeyId=KEY&Format=None", "", "", "TagResource", byte(2))
	f.Add("PUT", "%zz", "{}", "application/json", "CreateKey", byte(0))
	f.Add("GET", "Action=CreateKey&Format=XML&Description=%00%ff", "", "", "", byte(1))
	f.Add("GET", "Action=DescribeEndpoints&Version=2015-06-12&Id=cn-hangzhou&ServiceCode=kms&Format=XML", "", "", "", byte(1))
	f.Add("POST", "Action=Encrypt&Plaintext=x&KeyId=KEY&EncryptionContext.a=b", "", "", "", byte(1))
	f.Add("POST", "Action=GetSecretValue", "", "", "", byte(5))
	for action := range account.Operations {
		for _, signed := range []byte{1, 5} {
			f.Add("POST", "Action="+action+"&KeyId=KEY&KeyVersionId=x&AliasName=alias/a&DryRun=true", "", "", "", signed)
		}
	}
	f.Fuzz(func(t *testing.T, method, query, body, contentType, header string, signed byte) {
		query = strings.ReplaceAll(query, "KEY", id)
		r := httptest.NewRequest("POST", "/", strings.NewReader(body))
		r.Method, r.URL.RawQuery = method, query
		r.Header.Set("Content-Type", contentType)
		now := time.Now().UTC().Format(wire.TimeLayout)
		at := fuzzEndpoint(signed&4 != 0)
		switch signed % 4 {
		case 1: // RPC
			v := "AccessKeyId=ak&SignatureMethod=HMAC-SHA1&SignatureVersion=1.0&Timestamp=" + now
			if !strings.Contains(query, "Version="+locationVersion) {
				v += "&Version=" + kmsVersion
			}
			r.URL.RawQuery = strings.TrimPrefix(query+"&"+v, "&")
			c, _ := wire.ReadCall(httptest.NewRecorder(), r)
			r.Body = io.NopCloser(strings.NewReader(body))
			r.URL.RawQuery += "&Signature=" + url.QueryEscape(signRPC(method, c.Params))
		case 2: // ACS3
			for name, value := range map[string]string{"Action": header, "Version": "2016-01-20", "Date": now, "Content-Sha256": sha256Hex(body)} {
				r.Header.Set("X-Acs-"+name, value)
			}
			const names = "host;x-acs-action;x-acs-content-sha256;x-acs-date;x-acs-version"
			r.Header.Set("Authorization", "ACS3-HMAC-SHA256 Credential=ak,SignedHeaders="+names+",Signature="+signACS3(r, names, body))
		case 3:
			r.Header.Set("Authorization", header)
		}
		w := httptest.NewRecorder()
		s.handle(at, w, r)
		wellFormed(t, w.Result(), w.Body.Bytes())
		if w.Code == http.StatusOK {
			s.forgetKeys(t)
		}
	})
}

// forgetKeys keeps the state small: every change looks at all keys.
func (s *fuzzServer) forgetKeys(t *testing.T) {
	listed, err := s.account.Perform("ListKeys", false, nil)
	if err != nil {
		t.Fatal(err)
	}
	if listed["TotalCount"].(int) < 20 {
		return
	}
	s.reopen(t, func() error { return os.WriteFile(s.state, s.began, 0o600) })
}

func wellFormed(t *testing.T, r *http.Response, body []byte) {
	t.Helper()
	code, requestID := "", ""
	switch r.Header.Get("Content-Type") {
	case "application/json;charset=utf-8":
		var v struct{ Code, RequestId, Message string }
		if err := json.Unmarshal(body, &v); err != nil {
			t.Fatalf("%v in %q", err, body)
		}
		code, requestID = v.Code, v.RequestId
	case "text/xml;charset=utf-8":
		var v struct {
			XMLName                  xml.Name
			Code, RequestId, Message string
		}
		if err := xml.Unmarshal(body, &v); err != nil {
			t.Fatalf("%v in %q", err, body)
		}
		code, requestID = v.Code, v.RequestId
		if (v.XMLName.Local == "Error") != (r.StatusCode != 200) {
			t.Fatalf("%d with root %s", r.StatusCode, v.XMLName.Local)
		}
	default:
		t.Fatalf("content type %q", r.Header.Get("Content-Type"))
	}
	if len(requestID) != 36 || (code == "") != (r.StatusCode == 200) {
		t.Fatalf("status %d, code %q, request id %q", r.StatusCode, code, requestID)
	}
	if code != "" && (wire.Listed(code) == nil || wire.Listed(code).Status != r.StatusCode || code == wire.ErrInternal.Code) {
		t.Fatalf("status %d, code %q", r.StatusCode, code)
	}
}
