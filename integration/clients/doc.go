// Package clients drives clients of Alibaba Cloud KMS that nobody here wrote:
// npm packages, Go's second SDK and its first. Each speaks to the emulator
// through a thin adapter that only translates names; what must come out is
// said once, in the integration tests.
//
// An adapter out of this process reads one call per line, {"action":"Encrypt",
// "params":{"KeyId":"…"}}, and writes one line for it: {"answer":{…}}, or
// {"refusal":{…}} with what the client's own error said. All text is ASCII
// with JSON escapes.
package clients
