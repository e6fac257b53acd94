package clients

import (
	"fmt"
	"os"
)

// Client performs actions of KMS.
type Client interface {
	// Call returns the answer, or a *Refusal when the service refused.
	Call(action string, params map[string]string) (Answer, error)
	Close() error
}

// Answer is an answer under the names that the service gives its members.
type Answer map[string]any

// Text returns a member that is a string, by its path.
func (a Answer) Text(path ...string) string {
	var v any = map[string]any(a)
	for _, name := range path {
		m, _ := v.(map[string]any)
		v = m[name]
	}
	s, _ := v.(string)
	return s
}

// Refusal is what the client's own error says, as far as it has it.
type Refusal struct {
	Name      string // of the error's class
	Code      string
	Status    int
	Message   string
	RequestID string
	Recommend string
}

func (r *Refusal) Error() string {
	return fmt.Sprintf("%s %s, status %d: %s", r.Name, r.Code, r.Status, r.Message)
}

// Target is a service and the right to use it.
type Target struct {
	Endpoint                                    string // host:port
	CAFile                                      string
	AccessKeyID, AccessKeySecret, SecurityToken string
	Home                                        string // an empty directory
}

// env is all that a client learns of its surroundings: no proxy, no
// credentials of the machine, no metadata service.
func (t Target) env() []string {
	return []string{
		"PATH=" + os.Getenv("PATH"),
		"HOME=" + t.Home,
		"TMPDIR=" + t.Home,
		"ALIBABA_CLOUD_ECS_METADATA_DISABLED=true",
		"NODE_EXTRA_CA_CERTS=" + t.CAFile,
		"SSL_CERT_FILE=" + t.CAFile,
		"KMS_ENDPOINT=" + t.Endpoint,
		"KMS_ACCESS_KEY_ID=" + t.AccessKeyID,
		"KMS_ACCESS_KEY_SECRET=" + t.AccessKeySecret,
		"KMS_SECURITY_TOKEN=" + t.SecurityToken,
	}
}
