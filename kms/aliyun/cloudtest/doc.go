// Package cloudtest is a cloud on loopback for the tests of the client: answers in
// the form of the service's, one of each refusal that is documented (codes.go),
// temporary credentials that expire (mint.go), the metadata service of an instance
// (instance.go), and a network of its own in which the real names lead to them
// (alone.go). What no error may show is full of canaries, which Clean looks for.
//
// It knows nothing of the client, so a mistake of the client's is not made twice.
package cloudtest
