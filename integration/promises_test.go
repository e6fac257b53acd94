package integration_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/kmsfs/kmsfs/integration/harness"
)

// promises are what kmsfs is for. README says each in the words given here, and
// the tests named here fail when it is broken.
var promises = []struct {
	promise string
	said    []string // in README
	tests   []string // by their folder
}{
	{"plaintext is never on a disk, nor anywhere else where it could be read later",
		[]string{"The plaintext is never a file", "there is only ciphertext", "the cache is locked and left out of cores, the process is not dumpable",
			"No page of plaintext stays in the kernel", "which is never written to a disk or swapped"},
		[]string{"integration/secrecy.TestCanaryIsNotOnDisk", "integration/secrecy.TestCanaryOfDemoIsNotOnDisk", "integration/secrecy.TestCanaryIsNeverSwappedOut",
			"integration/secrecy.TestCanaryIsInNoCoreByRoot", "integration/secrecy.TestCanaryIsInNoCoreOfACrash", "integration/secrecy.TestProcessIsProtected",
			"integration/secrecy.TestCanaryIsInTheArenaOnly", "integration/secrecy.TestCanaryEvictedOrRefusedIsGone", "integration/secrecy.TestHolderHoldsNoPlaintext",
			"kms/aliyun.TestErrorsHoldNoSecret", "kms/aliyun.TestHostileEcho", "kms/aliyun.TestCopiesOfPlaintext"}},
	{"a look at names, sizes and times costs no call",
		[]string{"exact size", "Listing, stat and files that are cached do not wait for anybody's slow call", "the first stat (never a listing of names) costs one call"},
		[]string{"integration/opening.TestMetadataCostsNoCall", "integration/opening.TestServesPlaintext", "integration/ciphertexts.TestSizeOfALongKeyIDIsLearnedByOneCall",
			"integration/ciphertexts.TestListingWorksWithoutSizes", "integration/ciphertexts.TestSizeThatIsLearnedKeepsNobodyWaiting"}},
	{"nothing hangs",
		[]string{"A reader who gives up (Ctrl-C) is let go at once", "no read takes longer than timeout", "readers get an error and do not hang", "While KMS cannot be reached, opens fail at once after the first",
			"tried again until timeout, then ETIMEDOUT \"Connection timed out\" or EIO \"Input/output error\"",
			"Such a read gets an error after a second where others would wait for KMS longer", "the connection ends with them: readers get an error, and it is mounted anew"},
		[]string{"integration/systemd.TestSystemdThatReadsTheMountNeverHangs", "integration/systemd.TestSystemdWaitsASecondAtMost", "fs/session.TestSystemdIsNotKeptWaiting",
			"integration/churn.TestNobodyHangs", "integration/failure.TestMountNeedsNoNetwork", "integration/failure.TestInterruptedReaderIsLetGoAtOnce",
			"integration/failure.TestHangingServiceBlocksNobodyElse", "integration/failure.TestHangingFaultsBlockNobodyElse", "integration/failure.TestHangingServiceLeavesNoGoroutine",
			"integration/failure.TestReaderWaitsForTheFirstFilesOfAnOutageOnly", "integration/lifetime.TestFlushEndsWhileTheServiceHangs",
			"integration/succession.TestTooManyDeathsEndTheMount", "integration/hostile.TestSpecialFilesNeitherBlockNorShow", "integration/hostile.TestLeasedFileFailsAtOnce"}},
	{"a secret dies on time",
		[]string{"so a ttl holds also when kmsfs is killed and nothing follows it", "Pages go when their plaintext's ttl ends, when KMS refuses the key or the file",
			"dropped as soon as a call for it says so", "every file of that key version is dropped as soon as a call says so",
			"What is served past its ttl has stale=true in its record, and a warning in the log now and then", "The next read asks KMS again, also through an old descriptor"},
		[]string{"cache.TestTTLIsHard", "cache.TestStaleEnds", "integration/lifetime.TestTTLEndsEachWayToRead", "integration/lifetime.TestCrashEndsReads",
			"integration/lifetime.TestCrashEndsSplice", "integration/lifetime.TestUseDoesNotStretchTTL", "integration/lifetime.TestRefusedRefreshPurges",
			"integration/lifetime.TestFlushReachesOldDescriptors", "integration/failure.TestStaleBridgesAnOutageAndNoLonger",
			"integration/failure.TestRefusalEndsStale", "integration/failure.TestBlockedNetworkHidesADisabledKeyForStaleAtMost",
			"integration/failure.TestAnswerLaterThanTTLServesNobodyPastIt", "integration/opening.TestFastReadsNothingAfterTTLAndKill",
			"integration/opening.TestFastRefusalDropsPages", "integration/opening.TestOldDescriptorAsksAgainAfterTTL"}},
	{"one secret costs one call",
		[]string{"A thousand readers of one cold file cost one call", "At most qps requests per second are sent, repeated ones included, and users take turns",
			"a reader in a loop, or a kernel that reads again, costs no second call"},
		[]string{"integration/opening.TestReadersOfAColdFileCostOneCall", "integration/opening.TestThunderingHerdCostsACallPerFile",
			"integration/hostile.TestFloodDoesNotDelayRoot", "integration/failure.TestRefusalInALoopCostsACallASecond",
			"integration/failure.TestDamagedFileCostsItsNeighboursNothing", "integration/lifetime.TestFlushIsLimited", "kms/gate.TestThrottlingIsAbsorbed"}},
	{"the ciphertext decides",
		[]string{"A replaced file is another file: the next open serves the new content whole", "What an open serves is never older than the open itself", "an answer must fit its ciphertext",
			"EIO, and nothing is kept"},
		[]string{"fs.TestWhichVersionAnOpenServes", "integration/opening.TestReplaceRacesShowOneVersionWhole", "integration/opening.TestReplacedFileIsServedAtTheNextOpen",
			"integration/opening.TestReplacedInAnyWayShowsWhole", "integration/opening.TestStatAfterRenameIsOfTheNewFile",
			"integration/opening.TestPinnedOpensGetTheCurrentBytes", "integration/opening.TestRotationIsSeen", "kms/aliyun.TestImplausibleDecryptAnswers"}},
	{"an unreadable secret is never an empty one, and never another one",
		[]string{"Errors appear at open, where programs report them", "nothing outside the source is reached, no file type blocks", "so that it is never read as nothing",
			"answers EBADMSG when opened, without a call to KMS", "EACCES \"Permission denied\"", "EKEYREVOKED \"Key has been revoked\"", "EBADMSG \"Bad message\"",
			"permissions, checked by the kernel"},
		[]string{"integration/failure.TestEachFailureHasItsErrno", "integration/hostile.TestWhatIsNoCiphertextIsRefusedByItself",
			"integration/hostile.TestLinksNeverLeadOutOfTheMount", "integration/hostile.TestNestedMountIsNotCrossed", "integration/hostile.TestHugeSparseFileIsNotRead",
			"integration/hostile.TestAllowOtherGoesAsFarAsModesDo", "integration/ciphertexts.TestBoundCiphertextIsGoodForItsNameOnly",
			"integration/ciphertexts.TestKeysServesWhatTheListedKeysEncrypted", "fs/source.TestSourceIsConfinedInRaces"}},
	{"the mount outlives the process",
		[]string{"The mount stays, open descriptors stay valid, and who is reading waits a moment", "an upgrade that no reader notices", "The mount and open descriptors outlive a crash",
			"and where that cannot serve", "The new program first shows that it can serve this mount"},
		[]string{"integration/succession.TestUnfitProgramTakesNothingOver", "integration/succession.TestReloadThatLacksSomethingIsRefused",
			"integration/succession.TestServerThatLacksSomethingServesOn", "integration/succession.TestLogGoesOnWithoutItsDirectory", "fs/session.TestStopLosesNothing", "fs/session.TestSuccessorAnswersWhatIsUnderWay", "integration/succession.TestServerKilledUnderLoad", "integration/succession.TestServerUpgradedUnderLoad",
			"integration/succession.TestDescriptorsOutliveTheServer", "integration/succession.TestServerKilledWhileOpening",
			"integration/succession.TestReadersWaitWhateverAServerDiesOf", "integration/succession.TestReloadKeepsPIDAndDescriptors",
			"integration/succession.TestReloadRunsNoUnsafeProgram", "integration/systemd.TestServiceKeepsItsMountThroughDeaths"}},
	{"what happened can be told",
		[]string{"every open reads the ciphertext in the source, is judged and logged, and fails with the reason", "The log has the reason and the RequestId of KMS"},
		[]string{"fs/audit.TestRecords", "fs/audit.TestFullQueue", "fs/audit.TestBrokenLog", "integration/hostile.TestNamesCannotForgeALogLine",
			"integration/control.TestStatusShowsErrorsAndNoSecret", "integration/control.TestStatusCountsReadsAndCalls", "integration/mounting.TestUnreadLogStopsNobody"}},
	{"it opens what its users have, and others open what it makes",
		[]string{"Files that the aliyun command and existing scripts made just work, and they open ours", "What editors and shells leave around one blob does no harm"},
		[]string{"integration/opening.TestInteroperates", "integration/clients.TestForeignClientsGetBackWhatTheyEncrypted",
			"integration/ciphertexts.TestKeyOfGeneration3Serves", "integration/ciphertexts.TestWhatEditorsLeaveDoesNoHarm",
			"integration/ciphertexts.TestUnknownLayoutIsLeftToTheService", "integration/programs.TestProgramsSeeARealFile",
			"integration/consumers.TestServersSurviveARefusal", "kms/aliyun/blobs.TestRecogniseMuseum"}},
	{"only what KMS says over a connection to KMS is believed",
		[]string{"TLS 1.2 or later, no redirects, no plain HTTP", "bounded answers, checked for length and key version"},
		[]string{"kms/aliyun.TestNeverPlainHTTP", "kms/aliyun.TestRedirect", "kms/aliyun.TestEndlessAnswer", "kms/aliyun.TestImplausibleDecryptAnswers",
			"integration/ciphertexts.TestAnswerOfAMigratedKeyIsServedAndSaid"}},
}

// plain is a text without line breaks and the signs of code.
func plain(text string) string {
	return strings.Join(strings.Fields(strings.NewReplacer("`", "", "**", "").Replace(text)), " ")
}

// Each promise is in README in its own words, and each test that holds it exists.
func TestPromisesAreSaidAndTested(t *testing.T) {
	readme := plain(harness.Read(t, harness.Repository("README.md")))
	for _, p := range promises {
		if len(p.said) == 0 || len(p.tests) == 0 {
			t.Errorf("%s: it is said in %d ways and held by %d tests", p.promise, len(p.said), len(p.tests))
		}
		for _, words := range p.said {
			if !strings.Contains(readme, words) {
				t.Errorf("%s: README does not say %q", p.promise, words)
			}
		}
		for _, test := range p.tests {
			dir, name, _ := strings.Cut(test, ".")
			if !testExists(t, dir, name) {
				t.Errorf("%s: there is no test %s", p.promise, test)
			}
		}
	}
}

func testExists(t *testing.T, dir, name string) bool {
	t.Helper()
	paths, err := filepath.Glob(harness.Repository(dir + "/*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	is := regexp.MustCompile(`(?m)^func ` + name + `\(t \*testing\.T\)`)
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if is.Match(text) {
			return true
		}
	}
	return false
}

// What README's tables say that kmsfs does against somebody, and what an open
// answers for each failure, is part of a promise.
func TestReadmeTablesArePromised(t *testing.T) {
	var said []string
	for _, p := range promises {
		said = append(said, p.said...)
	}
	readme := harness.Read(t, harness.Repository("README.md"))
	for _, table := range []struct {
		header string
		column int // the one that promises; an empty cell says that nothing is
	}{
		{"| who | what kmsfs does | what it cannot do |", 2},
		{"| KMS | a fresh file (`ttl`) | past its `ttl`, within `stale` | otherwise, at open |", 4},
	} {
		_, rest, ok := strings.Cut(readme, table.header+"\n|---")
		rows, _, _ := strings.Cut(rest, "\n\n")
		lines := strings.Split(rows, "\n")[1:]
		if !ok || len(lines) < 5 {
			t.Errorf("README has no table %q", table.header)
			continue
		}
		for _, line := range lines {
			cell := plain(strings.Split(line, "|")[table.column])
			promised := cell == ""
			for _, words := range said {
				promised = promised || strings.Contains(cell, words)
			}
			if !promised {
				t.Errorf("no promise has a part of %q", cell)
			}
		}
	}
}
