// Package credentials holds where the access key comes from: a file, the
// environment, the role of an instance.
package credentials
