package emulator

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"encoding/xml"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
)

// fuzzEndpoint has no listener.
func fuzzEndpoint(instance bool) *endpoint {
	return &endpoint{instance: instance, leaf: new(x509.Certificate)}
}

// fuzzServer answers without a network.
func fuzzServer(f *testing.F) *Server {
	db, err := openState(filepath.Join(f.TempDir(), "state"))
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { db.Close() })
	db.NoSync = true // nothing here is to survive
	s := &Server{log: log.New(io.Discard, "", 0)}
	s.account.region, s.account.db, s.account.sealer = "cn-hangzhou", db, sealBlob
	s.auth.accessKeyID, s.auth.accessKeySecret = "ak", "sk"
	return s
}

// Whatever a client sends, signed or not, there is an answer, and it is well
// formed in the format that its content type says: a success with a request id,
// or an error with a code of the catalogue and its status.
func FuzzRequest(f *testing.F) {
	s := fuzzServer(f)
	made, err := try(&s.account, "CreateKey", nil)
	if err != nil {
		f.Fatal(err)
	}
	id := made["KeyMetadata"].(map[string]string)["KeyId"]
	sealed, err := try(&s.account, "Encrypt", params{"KeyId": id, "Plaintext": "a\x00b"})
	if err != nil {
		f.Fatal(err)
	}
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
	for action := range operations {
		for _, signed := range []byte{1, 5} {
			f.Add("POST", "Action="+action+"&KeyId=KEY&KeyVersionId=x&AliasName=alias/a&DryRun=true", "", "", "", signed)
		}
	}
	f.Fuzz(func(t *testing.T, method, query, body, contentType, header string, signed byte) {
		query = strings.ReplaceAll(query, "KEY", id)
		r := httptest.NewRequest("POST", "/", strings.NewReader(body))
		r.Method, r.URL.RawQuery = method, query
		r.Header.Set("Content-Type", contentType)
		now := time.Now().UTC().Format(timeLayout)
		at := fuzzEndpoint(signed&4 != 0)
		switch signed % 4 {
		case 1: // RPC
			v := "AccessKeyId=ak&SignatureMethod=HMAC-SHA1&SignatureVersion=1.0&Timestamp=" + now
			if !strings.Contains(query, "Version="+locationVersion) {
				v += "&Version=" + kmsVersion
			}
			r.URL.RawQuery = strings.TrimPrefix(query+"&"+v, "&")
			c, _ := readCall(at, httptest.NewRecorder(), r)
			r.Body = io.NopCloser(strings.NewReader(body))
			r.URL.RawQuery += "&Signature=" + url.QueryEscape(rpcSignature("sk", stringToSign(method, c.params)))
		case 2: // ACS3
			for name, value := range map[string]string{"Action": header, "Version": "2016-01-20", "Date": now, "Content-Sha256": hexHash(body)} {
				r.Header.Set("X-Acs-"+name, value)
			}
			const names = "host;x-acs-action;x-acs-content-sha256;x-acs-date;x-acs-version"
			r.Header.Set("Authorization", "ACS3-HMAC-SHA256 Credential=ak,SignedHeaders="+names+",Signature=0")
			c, _ := readCall(at, httptest.NewRecorder(), r)
			r.Body = io.NopCloser(strings.NewReader(body))
			if claimed, err := c.acs3Claim(); err == nil {
				r.Header.Set("Authorization", "ACS3-HMAC-SHA256 Credential=ak,SignedHeaders="+names+",Signature="+claimed.sign("sk"))
			}
		case 3:
			r.Header.Set("Authorization", header)
		}
		w := httptest.NewRecorder()
		s.handle(at, w, r)
		wellFormed(t, w.Result(), w.Body.Bytes())
		if w.Code == http.StatusOK {
			s.forgetKeys(t, id)
		}
	})
}

// forgetKeys keeps the state small: every change looks at all keys.
func (s *Server) forgetKeys(t *testing.T, but string) {
	err := s.account.db.Update(func(tx *bolt.Tx) error {
		b := tx.Bucket(bucketKeys)
		if b.Stats().KeyN < 20 {
			return nil
		}
		var others [][]byte
		b.ForEach(func(k, _ []byte) error {
			if string(k) != but {
				others = append(others, bytes.Clone(k))
			}
			return nil
		})
		for _, k := range others {
			if err := b.Delete(k); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func wellFormed(t *testing.T, r *http.Response, body []byte) {
	t.Helper()
	code, requestID := "", ""
	switch r.Header.Get("Content-Type") {
	case jsonType:
		var v struct{ Code, RequestId, Message string }
		if err := json.Unmarshal(body, &v); err != nil {
			t.Fatalf("%v in %q", err, body)
		}
		code, requestID = v.Code, v.RequestId
	case xmlType:
		var v struct {
			XMLName                  xml.Name
			Code, RequestId, Message string
		}
		if err := xml.Unmarshal(body, &v); err != nil {
			t.Fatalf("%v in %q", err, body)
		}
		code, requestID = v.Code, v.RequestId
		if (v.XMLName.Local == errorRoot) != (r.StatusCode != 200) {
			t.Fatalf("%d with root %s", r.StatusCode, v.XMLName.Local)
		}
	default:
		t.Fatalf("content type %q", r.Header.Get("Content-Type"))
	}
	if len(requestID) != 36 || (code == "") != (r.StatusCode == 200) {
		t.Fatalf("status %d, code %q, request id %q", r.StatusCode, code, requestID)
	}
	if code != "" && (listed(code) == nil || listed(code).Status != r.StatusCode || code == errInternal.Code) {
		t.Fatalf("status %d, code %q", r.StatusCode, code)
	}
}
