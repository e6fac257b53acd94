package main

import "time"

// settings are the options of a command as typed values. Every field has its
// row in the table of options.go, which also says what it defaults to.
type settings struct {
	connection

	ttl          time.Duration
	timeout      time.Duration
	cacheSize    int64 // bytes
	requireMlock bool

	fileMode, dirMode uint32
	uid, gid          uint32
	allowOther        bool
	nonempty          bool
	plain             bool
	open              string

	logFile string
}

// connection says which key service to speak to.
type connection struct {
	region        string
	endpoint      string
	caFile        string
	vpc           bool
	allowEmulator bool
}
