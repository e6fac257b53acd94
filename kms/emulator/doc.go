// Package emulator is Alibaba Cloud KMS (API version 2016-01-20) on the wire,
// for development and tests: the RPC protocol over TLS with a real signature
// check, keys and aliases that survive a crash, and faults on demand.
//
// It is NOT a key management service. Its key material, and the private key of
// the certificate authority it makes for itself, lie unprotected in the state
// file. The authority is named "TEST ONLY" so that a client can recognise and
// refuse it. The product never links this package.
//
// What the service documents is answered as documented. Where it documents
// nothing, a comment says that the answer is a choice of this package. The
// rooms: server.go and request.go speak HTTP, params.go and signature.go
// understand a request, operations.go is the table of actions, keys.go,
// keystate.go, aliases.go and crypto.go perform them, blob.go is the
// ciphertext, state.go the file, faults.go and admin.go the misbehaviour.
//
// Left out: ACS3 signatures, security tokens (a SecurityToken parameter is
// signed but otherwise ignored), key rotation, tags and policies (accepted by
// CreateKey and ignored), asymmetric keys, secrets, XML answers, quotas.
package emulator
