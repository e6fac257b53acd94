// Package wire is Alibaba Cloud KMS as its clients see it from outside, without the
// account behind it: a request taken apart (Call, Params), who signed it by either
// signature family (Authenticator, with the temporary keys of STS), and what is
// answered (Answer, Error) in JSON or XML. The catalogue holds every error code that
// the service or the gateway in front of it has.
//
// It knows no key, no state file and no listener.
package wire
