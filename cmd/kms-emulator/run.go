package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"strings"
	"syscall"

	"github.com/kmsfs/kmsfs/kms/emulator"
)

const (
	exitFailure = 1
	exitUsage   = 2
)

const (
	envID     = "ALIBABA_CLOUD_ACCESS_KEY_ID"
	envSecret = "ALIBABA_CLOUD_ACCESS_KEY_SECRET"
)

// run is the program: it returns the exit status when ctx ends.
func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	c, err := parse(args, getenv)
	if errors.Is(err, flag.ErrHelp) {
		io.WriteString(stdout, help)
		return 0
	}
	if err == nil {
		c.Log = log.New(stderr, "kms-emulator: ", 0)
		err = serve(ctx, c, stdout, stderr)
	}
	if err == nil {
		return 0
	}
	fmt.Fprintf(stderr, "kms-emulator: %s\nhint: %s\n", oneLine(err), hint(err))
	if errors.As(err, new(usageError)) || errors.Is(err, emulator.ErrConfig) {
		return exitUsage
	}
	return exitFailure
}

func serve(ctx context.Context, c emulator.Config, stdout, stderr io.Writer) error {
	s, err := emulator.New(c)
	if err != nil {
		return err
	}
	fmt.Fprintln(stderr, "kms-emulator: for development and tests only, its keys are not protected")
	if s.AdminURL() != "" {
		fmt.Fprintln(stdout, "admin "+s.AdminURL())
	}
	if s.InstanceURL() != "" {
		fmt.Fprintln(stdout, "instance "+s.InstanceURL())
	}
	if _, err := fmt.Fprintln(stdout, "ready "+s.URL()); err != nil {
		s.Close()
		return fmt.Errorf("print address: %w", err)
	}
	return s.Serve(ctx)
}

// usageError is a command line or environment that says too little or too
// much.
type usageError struct{ text, hint string }

func (e usageError) Error() string { return e.text }

func parse(args []string, getenv func(string) string) (emulator.Config, error) {
	var c emulator.Config
	fs := flag.NewFlagSet("kms-emulator", flag.ContinueOnError)
	fs.SetOutput(io.Discard) // run prints, in one place
	fs.StringVar(&c.Listen, "listen", "127.0.0.1:8443", "")
	fs.StringVar(&c.State, "state", "", "")
	fs.StringVar(&c.CAOut, "ca-out", "", "")
	fs.StringVar(&c.Region, "region", "cn-hangzhou", "")
	fs.StringVar(&c.Admin, "admin", "", "")
	fs.StringVar(&c.BlobLayout, "blob-layout", "current", "")
	fs.IntVar(&c.QPS, "qps", 0, "")
	fs.IntVar(&c.Generation, "generation", 1, "")
	fs.StringVar(&c.InternetAccess, "internet-access", "on", "")
	fs.StringVar(&c.InstanceListen, "instance-listen", "", "")
	fs.StringVar(&c.InstanceCAOut, "instance-ca-out", "", "")
	fs.StringVar(&c.InstanceImage, "instance-image", "", "")
	collect := func(flag string, into *[]string) {
		fs.Func(flag, "", func(name string) error {
			*into = append(*into, name)
			return nil
		})
	}
	collect("san", &c.SAN)
	collect("instance-san", &c.InstanceSAN)
	seeHelp := "see kms-emulator --help"
	if err := fs.Parse(args); errors.Is(err, flag.ErrHelp) {
		return c, err
	} else if err != nil {
		return c, usageError{"parse flags: " + err.Error(), seeHelp}
	}
	if fs.NArg() > 0 {
		return c, usageError{fmt.Sprintf("parse flags: unexpected argument %q", fs.Arg(0)), seeHelp}
	}
	for _, required := range []struct{ name, value string }{{"--state", c.State}, {"--ca-out", c.CAOut}} {
		if required.value == "" {
			return c, usageError{"parse flags: " + required.name + " is missing", seeHelp}
		}
	}
	if c.InstanceListen != "" && c.InstanceCAOut == "" {
		return c, usageError{"parse flags: --instance-ca-out is missing", "clients of --instance-listen need that certificate"}
	}
	for _, name := range []string{envID, envSecret} {
		if getenv(name) == "" {
			return c, usageError{"read environment: " + name + " is not set",
				"export " + envID + " and " + envSecret + "; any value will do, clients need the same"}
		}
	}
	c.AccessKeyID, c.AccessKeySecret = getenv(envID), getenv(envSecret)
	return c, nil
}

func hint(err error) string {
	var usage usageError
	switch {
	case errors.As(err, &usage):
		return usage.hint
	case errors.Is(err, emulator.ErrConfig):
		return "see kms-emulator --help"
	case errors.Is(err, syscall.EADDRINUSE):
		return "another program listens there; --listen 127.0.0.1:0 picks a free port"
	case errors.Is(err, emulator.ErrState):
		return "--state names a file of this program and of its --region or one that does not exist yet, " +
			"in a directory that you may write; one process at a time"
	}
	return "check --listen, --admin and --ca-out, and those of the instance"
}

// oneLine keeps a message on its line, whatever a file name holds.
func oneLine(err error) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, err.Error())
}
