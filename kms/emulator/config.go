package emulator

import (
	"cmp"
	"errors"
	"fmt"
	"log"
	"net"
	"regexp"
	"slices"

	"github.com/kmsfs/kmsfs/kms/emulator/account"
)

// What can be wrong before the server listens.
var (
	// ErrConfig marks a Config that no machine could serve.
	ErrConfig = errors.New("unusable configuration")
	// ErrState marks a state file that cannot be opened, read or written.
	ErrState = account.ErrState
)

// configError is an error of class ErrConfig that prints only its own text.
type configError struct{ text string }

func (e *configError) Error() string   { return e.text }
func (e *configError) Is(t error) bool { return t == ErrConfig }

func badConfig(format string, a ...any) error {
	return &configError{fmt.Sprintf(format, a...)}
}

// DefaultInstance is the id of the instance that keys of generation 3 belong
// to, unless they name another.
const DefaultInstance = account.DefaultInstance

// instanceDomain is what is behind the id in the name of an instance's own
// endpoint (documented).
const instanceDomain = ".cryptoservice.kms.aliyuncs.com"

// Config is what a Server needs. Nothing is read from the environment.
type Config struct {
	// Listen is the address of the KMS API; empty means 127.0.0.1:8443.
	// Port 0 picks a free one.
	Listen string
	// State is the file that holds keys, aliases and the authority. It is
	// made when it does not exist. One server at a time has it open.
	State string
	// CAOut is where the authority's certificate is written as PEM, mode
	// 0644; empty means nowhere.
	CAOut string
	// InstanceListen is the address of an instance's own endpoint; empty
	// means none. It has an authority of its own.
	InstanceListen string
	// InstanceCAOut is where that authority's certificate is written.
	InstanceCAOut string
	// InstanceSAN holds further names for the instance's certificate.
	InstanceSAN []string
	// InstanceImage is the instance's version: "current", for which empty
	// stands, or "old", which knows no client of the API for cryptography.
	InstanceImage string
	// InternetAccess is the switch for keys of an instance at the shared
	// endpoint when the server starts: "on", for which empty stands, or "off".
	// The admin server turns it.
	InternetAccess string
	// Region is the region that the server plays; empty means cn-hangzhou.
	Region string
	// SAN holds further host names or IP addresses for the server's
	// certificate.
	SAN []string
	// Admin is the loopback address of the admin server; empty means none.
	Admin string
	// AccessKeyID and AccessKeySecret are the only permanent access key.
	// Both must be given. The admin server hands out temporary ones.
	AccessKeyID, AccessKeySecret string
	// Generation is that of new keys: 1, for which 0 stands, or 3, which is
	// KMS 3.0 with its instances. Keys of both live in one state file.
	Generation int
	// BlobLayout is that of new ciphertext: "current", for which empty
	// stands, or "2019". Decrypt takes both. Generation 3 has only the
	// current one.
	BlobLayout string
	// QPS bounds the cryptographic calls per second; 0 means no bound.
	QPS int
	// Log takes failures inside the server and the names of actions that it
	// lacks, never a parameter of a request; nil means nowhere.
	Log *log.Logger
}

func (c *Config) listen() string  { return cmp.Or(c.Listen, "127.0.0.1:8443") }
func (c *Config) region() string  { return cmp.Or(c.Region, "cn-hangzhou") }
func (c *Config) generation() int { return cmp.Or(c.Generation, account.SharedGeneration) }

var (
	regionForm = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)
	hostForm   = regexp.MustCompile(`^(\*\.)?[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*$`)
)

// check returns what is wrong without touching anything.
func (c *Config) check() error {
	if c.State == "" {
		return badConfig("choose state: no state file named")
	}
	if c.AccessKeyID == "" || c.AccessKeySecret == "" {
		return badConfig("choose access key: id or secret is empty")
	}
	if !regionForm.MatchString(c.region()) {
		return badConfig("choose region: %q is not the name of a region", c.region())
	}
	if !account.HasLayout(c.BlobLayout) {
		return badConfig("choose blob layout: %q is neither current nor 2019", c.BlobLayout)
	}
	if g := c.generation(); g != account.SharedGeneration && g != account.InstanceGeneration {
		return badConfig("choose generation: %d is neither 1 nor 3", g)
	}
	if c.generation() == account.InstanceGeneration && c.BlobLayout == "2019" {
		return badConfig("choose blob layout: keys of generation 3 never had that of 2019")
	}
	if c.QPS < 0 {
		return badConfig("limit calls: %d per second is below 0", c.QPS)
	}
	if err := c.checkInstance(); err != nil {
		return err
	}
	for _, name := range slices.Concat(c.SAN, c.InstanceSAN) {
		if net.ParseIP(name) == nil && !hostForm.MatchString(name) {
			return badConfig("name server: %q is neither a host name nor an IP address", name)
		}
	}
	if _, _, err := net.SplitHostPort(c.listen()); err != nil {
		return badConfig("listen on %s: not an address such as 127.0.0.1:8443", c.listen())
	}
	if c.Admin != "" {
		host, _, err := net.SplitHostPort(c.Admin)
		if err != nil {
			return badConfig("listen for admin on %s: not an address such as 127.0.0.1:8444", c.Admin)
		}
		// The admin server has no access control but this.
		if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			return badConfig("listen for admin on %s: not a loopback address", c.Admin)
		}
	}
	return nil
}

func (c *Config) checkInstance() error {
	if i := c.InstanceImage; i != "" && i != "current" && i != "old" {
		return badConfig("choose instance image: %q is neither current nor old", i)
	}
	if a := c.InternetAccess; a != "" && a != "on" && a != "off" {
		return badConfig("choose internet access: %q is neither on nor off", a)
	}
	if c.InstanceListen == "" {
		if c.InstanceCAOut != "" || len(c.InstanceSAN) > 0 || c.InstanceImage != "" {
			return badConfig("play instance: it has no address to listen on")
		}
		return nil
	}
	if _, _, err := net.SplitHostPort(c.InstanceListen); err != nil {
		return badConfig("listen for instance on %s: not an address such as 127.0.0.1:8445", c.InstanceListen)
	}
	if c.CAOut != "" && c.InstanceCAOut == c.CAOut {
		return badConfig("write certificate: %s cannot hold both authorities", c.CAOut)
	}
	return nil
}

// names returns every name and address of the shared endpoint's certificate.
func (c *Config) names() []string {
	return slices.Concat(ownNames(c.listen()), []string{"kms." + c.region() + ".aliyuncs.com"}, locationNames, c.SAN)
}

// instanceNames returns those of the instance's.
func (c *Config) instanceNames() []string {
	return slices.Concat(ownNames(c.InstanceListen), []string{DefaultInstance + instanceDomain}, c.InstanceSAN)
}

// ownNames returns what a listener on an address is called on any machine.
func ownNames(listen string) []string {
	names := []string{"127.0.0.1", "::1", "localhost"}
	host, _, _ := net.SplitHostPort(listen)
	if ip := net.ParseIP(host); ip != nil && !ip.IsUnspecified() && !ip.IsLoopback() {
		names = append(names, host)
	}
	return names
}
