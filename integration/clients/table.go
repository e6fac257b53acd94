package clients

import (
	"path/filepath"
	"sync"
)

// Foreign is a client that nobody here wrote, with the words that it has for
// two errors.
type Foreign struct {
	Name  string
	Start func(Target) (Client, error)

	// NotFound and Mismatch are what it says to Forbidden.KeyNotFound and to
	// a signature that another secret made. Their Message is what the
	// client's contains; an empty Name or Recommend says nothing.
	NotFound, Mismatch Refusal
	NeedsNode          bool

	// Spread is what it says when a context that it spread over parameters is
	// refused; zero for a client that cannot send one so.
	Spread Refusal
}

const (
	keyNotFound  = "Forbidden.KeyNotFound"
	doesNotMatch = "SignatureDoesNotMatch"
	keyText      = "The specified Key is not found."
	rpcText      = "Specified signature is not matched with our calculation. server string to sign is:"
	invalid      = "InvalidParameter"
	spreadText   = `The specified parameter "EncryptionContext.app" is not valid.`
	acs3Text     = "Specified signature does not match our calculation. server StringToSign is [ACS3-HMAC-SHA256\n"
)

// All lists the clients. dir is the directory of this package, bin one for
// programs that are built. What a client needs is installed or built when the
// first of its kind starts.
func All(dir, bin string) []Foreign {
	all := popCore(dir)
	all = append(all, tea(dir)...)
	all = append(all, goV3(dir, bin)...)
	return append(all, sdks()...)
}

// node returns what starts an adapter script.
func node(dir, script string, args ...string) func(Target) (Client, error) {
	dir = filepath.Join(dir, "node")
	return func(t Target) (Client, error) {
		packages, err := InstallNode(dir)
		if err != nil {
			return nil, err
		}
		return Node(t, packages, dir, script, args...)
	}
}

// popCore is npm @alicloud/pop-core: RPC, by default in GET.
func popCore(dir string) []Foreign {
	var all []Foreign
	for _, method := range []string{"GET", "POST"} {
		all = append(all, Foreign{
			Name:      "pop-core " + method,
			Start:     node(dir, "pop-core.js", method),
			NeedsNode: true,
			NotFound:  Refusal{Name: keyNotFound + "Error", Code: keyNotFound, Status: 404, Message: keyText + ", URL: https://"},
			Mismatch:  Refusal{Name: doesNotMatch + "Error", Code: doesNotMatch, Status: 400, Message: rpcText + method + "&%2F&"},
			Spread:    Refusal{Name: invalid + "Error", Code: invalid, Status: 400, Message: spreadText},
		})
	}
	return all
}

// tea are npm @alicloud/kms20160120, RPC, which spreads a context over parameters
// when it is given an object, not when it is given JSON, and keeps the status in
// its text alone, and @alicloud/openapi-client, ACS3.
func tea(dir string) []Foreign {
	all := []Foreign{{
		Name:      "kms20160120",
		Start:     node(dir, "kms20160120.js"),
		NeedsNode: true,
		NotFound:  Refusal{Name: "Error", Code: keyNotFound + "Error", Message: "code: 404, " + keyText},
		Mismatch:  Refusal{Name: "Error", Code: doesNotMatch + "Error", Message: "code: 400, " + rpcText + "POST&%2F&"},
		Spread:    Refusal{Name: "Error", Code: invalid + "Error", Message: "code: 400, " + spreadText},
	}}
	for _, place := range []string{"query", "body"} {
		all = append(all, Foreign{
			Name:      "openapi-client ACS3, " + place,
			Start:     node(dir, "openapi-client.js", place),
			NeedsNode: true,
			NotFound:  Refusal{Code: keyNotFound, Status: 404, Message: "code: 404, " + keyText},
			Mismatch:  Refusal{Code: doesNotMatch, Status: 400, Message: "code: 400, " + acs3Text},
			Spread:    Refusal{Code: invalid, Status: 400, Message: "code: 400, " + spreadText},
		})
	}
	return all
}

// goV3 is alibabacloud-go/kms-20160120/v3: ACS3, unless told otherwise.
func goV3(dir, bin string) []Foreign {
	program := filepath.Join(bin, "go-v3")
	build := sync.OnceValue(func() error { return BuildGoV3(filepath.Join(dir, "go-v3"), program) })
	var all []Foreign
	for _, c := range []struct{ name, algorithm, text string }{
		{"Go kms v3 ACS3", "", acs3Text}, {"Go kms v3 RPC", "v2", rpcText + "POST&%2F&"},
	} {
		all = append(all, Foreign{
			Name: c.name,
			Start: func(t Target) (Client, error) {
				if err := build(); err != nil {
					return nil, err
				}
				return GoV3(t, program, c.algorithm)
			},
			NotFound: Refusal{Name: "*tea.SDKError", Code: keyNotFound, Status: 404, Message: "code: 404, " + keyText},
			Mismatch: Refusal{Name: "*tea.SDKError", Code: doesNotMatch, Status: 400, Message: "code: 400, " + c.text},
		})
	}
	return all
}

// sdks are the SDK's ways to call. Of an error in XML it can read nothing: the
// whole body is its message.
func sdks() []Foreign {
	var all []Foreign
	for _, method := range []string{"GET", "POST"} {
		for _, format := range []string{"JSON", "XML"} {
			f := Foreign{
				Name:     "SDK " + method + " " + format,
				Start:    func(t Target) (Client, error) { return SDK(t, method, format) },
				NotFound: Refusal{Name: "*errors.ServerError", Code: keyNotFound, Status: 404, Message: keyText},
				Mismatch: Refusal{Name: "*errors.ServerError", Code: doesNotMatch, Status: 400, Message: rpcText + method + "&%2F&",
					Recommend: "InvalidAccessKeySecret: Please check you AccessKeySecret"},
			}
			if format == "XML" {
				f.NotFound.Code, f.NotFound.Message = "", "<Code>"+keyNotFound+"</Code>"
				f.Mismatch = Refusal{Name: f.NotFound.Name, Status: 400, Message: "<Code>" + doesNotMatch + "</Code>"}
			}
			all = append(all, f)
		}
	}
	return all
}
