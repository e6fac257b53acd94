package cloudtest

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// MetadataHost is where an instance asks about itself.
const MetadataHost = "100.100.100.200"

// Instance is a metadata service.
type Instance struct {
	*Mint
	T    testing.TB
	Role string // of the instance; empty: it has none
	V1   bool   // session tokens are neither issued nor needed

	mu     sync.Mutex
	region string
	seen   map[string]int // requests by method and path
}

// SetRegion says where the instance is. Until then it does not know.
func (i *Instance) SetRegion(region string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.region = region
}

// Requests is how many have arrived.
func (i *Instance) Requests() (n int) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, times := range i.seen {
		n += times
	}
	return n
}

// Asked is how many requests of a method and path have arrived.
func (i *Instance) Asked(request string) int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.seen[request]
}

// Serve is its handler.
func (i *Instance) Serve(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	if i.seen == nil {
		i.seen = map[string]int{}
	}
	i.seen[r.Method+" "+r.URL.Path]++
	region := i.region
	i.mu.Unlock()
	if r.Host != MetadataHost {
		i.T.Errorf("asked for %s", r.Host)
	}
	const session = "canarysession"
	switch {
	case r.Method == http.MethodPut && r.URL.Path == "/latest/api/token" && !i.V1:
		if r.Header.Get("X-aliyun-ecs-metadata-token-ttl-seconds") == "" {
			i.T.Error("a session without an end")
		}
		fmt.Fprint(w, session)
	case r.Method != http.MethodGet:
		http.Error(w, "canary", http.StatusNotFound)
	case !i.V1 && r.Header.Get("X-aliyun-ecs-metadata-token") != session:
		http.Error(w, "canary", http.StatusForbidden)
	case r.URL.Path == "/latest/meta-data/region-id" && region != "":
		fmt.Fprintln(w, region)
	case strings.HasSuffix(r.URL.Path, "/security-credentials/") && i.Role != "":
		fmt.Fprint(w, i.Role)
	case strings.HasSuffix(r.URL.Path, "/security-credentials/"+i.Role) && i.Role != "":
		k := i.Issue()
		Answering(200, JSON(map[string]any{
			"Code": "Success", "AccessKeyId": k.AccessKeyId, "AccessKeySecret": k.AccessKeySecret, "SecurityToken": k.SecurityToken,
			"Expiration": k.Expiration, "LastUpdated": k.Expiration,
		}))(w, r)
	default:
		http.Error(w, "canary", http.StatusNotFound)
	}
}
