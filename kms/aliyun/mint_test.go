package aliyun

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// mint issues temporary credentials and knows which are valid.
type mint struct {
	life time.Duration // and up to a second more: an Expiration has no fractions

	mu     sync.Mutex
	issued []temporary
}

type temporary struct {
	AccessKeyId, AccessKeySecret, SecurityToken, Expiration string
	expires                                                 time.Time
}

func (m *mint) issue() temporary {
	m.mu.Lock()
	defer m.mu.Unlock()
	expires := time.Now().Add(m.life + time.Second - 1).UTC().Truncate(time.Second)
	n := len(m.issued)
	k := temporary{
		fmt.Sprintf("STS.canary%d", n), fmt.Sprintf("canarysecret%d", n), fmt.Sprintf("canarytoken+/=%d", n),
		expires.Format("2006-01-02T15:04:05Z"), expires,
	}
	m.issued = append(m.issued, k)
	return k
}

func (m *mint) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.issued)
}

// judge returns how a service would answer a request: nothing, or a code.
func (m *mint) judge(r *http.Request) (status int, code string) {
	r.ParseForm()
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, k := range m.issued {
		switch {
		case r.Form.Get("AccessKeyId") != k.AccessKeyId:
			continue
		case r.Form.Get("SecurityToken") != k.SecurityToken:
			return 400, "InvalidSecurityToken.MismatchWithAccessKey"
		case !signedWith(r, k.AccessKeySecret):
			return 400, "SignatureDoesNotMatch"
		case !time.Now().Before(k.expires):
			return 400, "InvalidSecurityToken.Expired"
		}
		return 200, ""
	}
	return 404, "InvalidAccessKeyId.NotFound"
}

// kms answers Decrypt to those who have valid credentials.
func (m *mint) kms(w http.ResponseWriter, r *http.Request) {
	if status, code := m.judge(r); code != "" {
		answering(status, toJSON(map[string]any{"Code": code, "RequestId": requestID1, "Message": "canary"}))(w, r)
		return
	}
	answering(200, decryptAnswer("x"))(w, r)
}

// assumeRole answers as STS does.
func (m *mint) assumeRole(w http.ResponseWriter, r *http.Request) {
	answering(200, toJSON(map[string]any{"RequestId": requestID1, "Credentials": m.issue()}))(w, r)
}

// instance is a metadata service.
type instance struct {
	*mint
	t      testing.TB
	role   string
	region string
	v1     bool // session tokens are neither issued nor needed

	mu   sync.Mutex
	seen map[string]int // requests by method and path
}

func (i *instance) asked(request string) int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.seen[request]
}

func (i *instance) serve(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	if i.seen == nil {
		i.seen = map[string]int{}
	}
	i.seen[r.Method+" "+r.URL.Path]++
	i.mu.Unlock()
	if r.Host != metadataHost {
		i.t.Errorf("asked for %s", r.Host)
	}
	const session = "canarysession"
	switch {
	case r.Method == http.MethodPut && r.URL.Path == "/latest/api/token" && !i.v1:
		if r.Header.Get("X-aliyun-ecs-metadata-token-ttl-seconds") == "" {
			i.t.Error("a session without an end")
		}
		fmt.Fprint(w, session)
	case r.Method != http.MethodGet:
		http.Error(w, "canary", http.StatusNotFound)
	case !i.v1 && r.Header.Get("X-aliyun-ecs-metadata-token") != session:
		http.Error(w, "canary", http.StatusForbidden)
	case r.URL.Path == "/latest/meta-data/region-id" && i.region != "":
		fmt.Fprintln(w, i.region)
	case strings.HasSuffix(r.URL.Path, "/security-credentials/") && i.role != "":
		fmt.Fprint(w, i.role)
	case strings.HasSuffix(r.URL.Path, "/security-credentials/"+i.role) && i.role != "":
		k := i.issue()
		answering(200, toJSON(map[string]any{
			"Code": "Success", "AccessKeyId": k.AccessKeyId, "AccessKeySecret": k.AccessKeySecret, "SecurityToken": k.SecurityToken,
			"Expiration": k.Expiration, "LastUpdated": k.Expiration,
		}))(w, r)
	default:
		http.Error(w, "canary", http.StatusNotFound)
	}
}
