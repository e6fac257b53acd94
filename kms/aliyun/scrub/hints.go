package scrub

import (
	"slices"
	"strings"
)

// What to do about a failure that has a cause of its own, beside what its class
// says. Each is a row of codes or of transportHints, and is provoked by a test.
const (
	hintThrottled = "the account's calls of this second are used up, by all its machines together: " +
		"a mount, and a run over many files, ask again by themselves; lower qps=, or have the quota raised"
	hintSwitch = "the key belongs to a KMS instance: name the instance's endpoint and its CA " +
		"(endpoint=kst-ID.cryptoservice.kms.aliyuncs.com, ca_file=), " +
		"or let the account's owner switch on access through the shared endpoint, in the KMS console at the instance"
	hintImage = "the image of the KMS instance is too old for these calls: " +
		"upgrade the instance to 3.0.0 or later in the KMS console, or name the shared endpoint, kms.REGION.aliyuncs.com"
	hintInstance = "the KMS instance does not serve this call: see in the KMS console whether it is running, " +
		"and whether it is shared with this account and reachable from here; " +
		"or name its own endpoint (endpoint=kst-ID.cryptoservice.kms.aliyuncs.com, ca_file=)"
	hintDebt     = "pay the overdue bill of the account that owns the key; the files, the key and the identity are all right"
	hintService  = "activate Key Management Service for this account in the console; the files, the key and the identity are all right"
	hintAccount  = "ask the owner of the account, or the vendor's support: the account itself is barred from KMS"
	hintEndpoint = "something else than KMS answers there: an endpoint looks like kms.REGION.aliyuncs.com, " +
		"kms-vpc.REGION.aliyuncs.com or kst-ID.cryptoservice.kms.aliyuncs.com"

	// HintRegion: the one hint that is about no answer.
	HintRegion = "set ALIBABA_CLOUD_REGION_ID, for example to cn-hangzhou, or give --region (region=): " +
		"cron, sudo and env -i keep few variables"

	hintVPC = "the names of KMS instances are known only inside the VPCs that are associated with the instance: " +
		"associate this one in the KMS console, or name the shared endpoint, kms.REGION.aliyuncs.com"
	hintNoHost     = "check the region and the endpoint for a typing error, and the name servers of this machine"
	hintInstanceCA = "a KMS instance has a CA of its own: download it in the KMS console at the instance, and give it as ca_file="
	hintCA         = "is the endpoint the right one? A CA that is not the system's is given as ca_file="
	hintOtherHost  = "name the endpoint as its certificate does; a KMS instance's is kst-ID.cryptoservice.kms.aliyuncs.com"
)

// Hints are those that codes bring.
func Hints() []string {
	var all []string
	for _, v := range codes {
		if v.Hint != "" && !slices.Contains(all, v.Hint) {
			all = append(all, v.Hint)
		}
	}
	return all
}

// transportHints are for requests that got no answer, by what Describe says of
// them; the first one that fits. instance: only for the name of a KMS instance.
var transportHints = []struct {
	begins   string
	instance bool
	hint     string
}{
	{"no such host ", true, hintVPC},
	{"name lookup of kst-", true, hintVPC},
	{"no such host ", false, hintNoHost},
	{"TLS certificate not trusted: ", false, ""}, // ErrTestOnlyCA has its own
	{"TLS certificate not trusted", true, hintInstanceCA},
	{"TLS certificate not trusted", false, hintCA},
	{"TLS certificate is for another host", false, hintOtherHost},
}

func TransportHint(detail, host string) string {
	for _, h := range transportHints {
		if strings.HasPrefix(detail, h.begins) && (!h.instance || isInstance(host)) {
			return h.hint
		}
	}
	return ""
}

// isInstance says whether a host is the endpoint of a KMS instance.
func isInstance(host string) bool {
	host = strings.ToLower(host)
	return strings.HasPrefix(host, "kst-") && strings.HasSuffix(host, ".cryptoservice.kms.aliyuncs.com")
}
