// Package scrub says in our own words what came of a request to Alibaba Cloud. It
// is a wall: what the SDK, net/http or a server has written about a failure may
// quote a plaintext, a token or a signed URL, so no word of it gets through. What
// gets through has been found here:
//
//   - the members of an answer that are asked for by name, in bytes that can be
//     wiped (members.go, pick.go);
//   - the meaning of an error code, from a table (codes.go), and what to do about
//     it (hints.go);
//   - why no answer came, told by the type of an error (words.go);
//   - the proxy of the environment, whose address may hold a password (proxy.go).
package scrub
