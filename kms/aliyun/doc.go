// Package aliyun speaks to Alibaba Cloud KMS (API version 2016-01-20). It is
// the only room of kmsfs that links the SDK for it.
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
// Three rooms beside it know more of that vendor: blobs, what the bytes of a file
// are; credentials, where an access key comes from; and scrub, the wall between what
// the SDK and the service say and what may be said of it.
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
