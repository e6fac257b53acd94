// Package kms is the contract between kmsfs and a key management service:
// one verb to decrypt, one to encrypt, the classes of failure that callers
// must tell apart, and what a ciphertext file is. It knows no vendor,
// no network and no filesystem; package kms/aliyun speaks to Alibaba Cloud, and
// package kms/gate stands before its calls.
package kms
