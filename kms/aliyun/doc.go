// Package aliyun speaks to Alibaba Cloud KMS (API version 2016-01-20). It is
// the only room of kmsfs that knows that vendor.
//
// It is an adapter over alibaba-cloud-sdk-go, which builds and signs the
// requests and decodes the answers. What the SDK lacks is done around it: its
// default scheme is plain HTTP, its client may not be shared by goroutines, it
// knows no context, follows redirects with signed requests, compiles NO_PROXY
// entries as regular expressions, panics on odd error bodies, takes {} for a
// success, and puts plaintext, tokens and ciphertext into URLs and errors. So
// every call gets an SDK client of its own, whose http.RoundTripper is an
// exchange: it checks the request, binds it to the caller's context, sends it
// over one shared transport, and shows the SDK only what it has checked.
//
// # Files
//
// Recogniser tells what a .cipher file holds, without the network: blob.go knows
// the layouts of a CiphertextBlob, unwrap.go what is taken off around it, and
// otherwise.go names what a file is instead.
//
// # Credentials
//
// FindCredentials chooses one source, without the network; CredentialOptions
// says in which order. credentials-go gets the credentials, and what it lacks
// is done around it: its providers have no locks, panic on answers that lack a
// member, keep expiries to themselves, return an error where the present token
// is still good, follow redirects, send metadata requests through a proxy, put
// signed URLs and whole answers into errors, print what a command printed, and
// write fresh tokens back into config.json. So each fetch has a provider of its
// own, built from what files hold now; a CredentialSource lets one fetch run at
// a time, lends what it brought until four fifths of its life are over, then
// renews it in the background and goes on lending it until it expires; what is
// lent is never expired, what fails is said in words of our own, and no file is
// ever written. When the service rejects what was lent, it is renewed at once
// and the call is made once more.
//
// A profile file, a token file, a command, and every directory and link on the
// way to them must belong to root or us and be writable by nobody else. The
// metadata service is asked with session tokens (IMDSv2); without, only where
// ALIBABA_CLOUD_IMDSV1_DISABLED is "false". It counts as a configured source
// unless ALIBABA_CLOUD_ECS_METADATA_DISABLED is "true". It also tells the
// region, at the first call, where no option, variable or profile does.
//
// Profiles of mode CloudSSO and OAuth live on a person's sign-in. It is used as
// long as it lasts and never renewed: an OAuth refresh token is good for once,
// and the next one would have to be written into the file. Mode External runs a
// command, only where that is allowed, with an environment of PATH, LANG and
// HOME. The modes RsaKeyPair, RamRoleArnWithRoleName and BearerToken are
// refused.
//
// # Copies of a plaintext
//
// Decrypt: the exchange reads the answer into one buffer, unescapes the member
// Plaintext into the slice that the caller owns and wipes, and wipes the
// buffer; the SDK sees an empty placeholder. The read buffers of crypto/tls and
// net/http are cleared when they wait for the next answer (clearing.go). So
// after the caller's Wipe no copy is left. Through a proxy, where net/http
// speaks TLS by itself, those two buffers keep theirs until the next answer.
//
// Encrypt: the signature covers the plaintext, and the SDK computes it over Go
// strings, which cannot be wiped: about eleven copies, raw or percent-encoded,
// stay until the garbage collector reuses their memory. Encrypt belongs into a
// process that ends soon, not into the mount's.
//
// TestCopiesOfPlaintext searches the memory of a process for them.
package aliyun
