# mq.verify and on_damage => 'skip', case by case: files that are missing, too
# long or strangers, batches that pass their checksum and do not decode, what
# is done meanwhile, and mq.stat_progress.  Damage of every byte is in
# 011_damage.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use MqTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

need_fault_points();

my $node = new_node('verify', conf => <<'CONF');
autovacuum = off
checkpoint_timeout = 1h
max_prepared_transactions = 0
CONF
my $data = $node->data_dir;

# The next run must be able to remove what this one leaves, however it ends.
my @locked;
END { chmod 0700, @locked if @locked }

# CRC-32C, as PostgreSQL computes it.
my @crc_table = map {
	my $crc = $_;
	$crc = $crc & 1 ? ($crc >> 1) ^ 0x82f63b78 : $crc >> 1 foreach 1 .. 8;
	$crc;
} 0 .. 255;

sub crc32c
{
	my ($bytes, $crc) = @_;
	$crc //= 0xffffffff;
	$crc = $crc_table[ ($crc ^ $_) & 0xff ] ^ ($crc >> 8) foreach unpack 'C*', $bytes;
	return $crc;
}

sub spew
{
	my ($path, $bytes) = @_;
	open my $fh, '>:raw', $path or die "$path: $!";
	print $fh $bytes;
	close $fh or die "$path: $!";
	return;
}

# What mq.verify says of a topic but "ok", a line each; paths without folder.
sub verify
{
	my ($topic, $on) = @_;
	my $out = ($on // $node)->safe_psql('postgres', qq{
		SELECT partition, base_offset, bad_offset, detail FROM mq.verify('$topic') WHERE status <> 'ok'});
	$out =~ s{pg_mq/\d+/[0-9a-f-]+/}{}g;
	return $out;
}

# SQLSTATE, message and detail of a fetch, or what it says with skip and how
# many messages it gave.
sub try_fetch
{
	my ($topic, $mode) = @_;
	my ($rc, $out, $err) = $node->psql('postgres', qq{\\set VERBOSITY verbose
		SELECT count(*) FROM mq.fetch('$topic', 0, NULL, 100000, 100000000, on_damage => '$mode')});
	$err =~ s{pg_mq/\d+/[0-9a-f-]+/}{}g;
	$err =~ s/^psql:\S+ //mg;
	$err =~ s/^(HINT|LOCATION):.*\n?//mg;
	return $mode eq 'skip' ? ($out, $err) : $err;
}

sub dir_of
{
	my ($topic) = @_;
	return $data . '/' . $node->safe_psql('postgres', qq{
		SELECT 'pg_mq/' || d.oid || '/' || t.topic_id FROM mq.topics t, pg_database d
		WHERE t.topic = '$topic' AND d.datname = current_database()});
}

sub settled
{
	my ($topic) = @_;
	my $dir = dir_of($topic);
	return wait_until(
		sub { !grep { slurp_file($_) =~ /\A(?:.{48})*.{43}[\x00-\x7f].{4}/s } glob "$dir/*/0*.batches" },
		"$topic is settled");
}

# Three segments of 20 messages, each a batch.
$node->safe_psql('postgres', q{
	SELECT mq.create_topic('t', 1, '{"segment.bytes": 65536}');
	CREATE PROCEDURE fill(topic text, n int) LANGUAGE plpgsql AS $$
	BEGIN
		FOR i IN 1 .. n LOOP
			PERFORM mq.produce(topic, rpad(i::text || ' ', 3100, 'x'), ts => '2024-01-01');
			COMMIT;
		END LOOP;
	END $$;
	CALL fill('t', 60);
	CHECKPOINT;
});
settled('t');
my $dir = dir_of('t') . '/0';
my @bases = map { m{(\d{20})\.log$} ? $1 : () } sort glob "$dir/0*.log";
is(scalar @bases, 3, 'three segments');
my @first = (map({ $_ + 0 } @bases), 60);
my %good = map { $_ => slurp_file($_) } glob "$dir/0*";
is(verify('t'), '', 'all is sound');

# Missing files: one kind of each segment, then both of each.

foreach my $s (0 .. 2)
{
	my $here = $first[ $s + 1 ] - $first[$s];
	foreach my $kind ('log', 'batches', 'log batches')
	{
		my @files = map { "$bases[$s].$_" } split / /, $kind;
		unlink map { "$dir/$_" } @files;
		# only the one behind it can tell of a segment that is missing altogether
		if (@files == 2 && $s < 2)
		{
			is(verify('t'), "0|$first[$s+1]|$first[$s]|offsets $first[$s] to @{[$first[$s+1] - 1]} before the segment are missing", 'a segment is missing');
		}
		else
		{
			is(verify('t'), join("\n", map { qq{0|$first[$s]|$first[$s]|file "0/$_" is missing} } @files), "$_ is missing") foreach @files;
		}
		my $error = try_fetch('t', 'error');
		like($error, qr{^ERROR:  XX001: damaged batch in file "0/\d{20}\.\w+" at position \d+\nDETAIL:  Offsets $first[$s] to \d+ of partition 0: }, "$kind of segment $s: XX001");
		my ($n, $warnings) = try_fetch('t', 'skip');
		is($n, 60 - $here, "$kind of segment $s: the rest is there");
		like($warnings, qr{^WARNING:  XX001: damaged batch in file "0/\d{20}\.\w+" at position \d+\nDETAIL:  Offsets $first[$s] to }, 'and what is not');
		spew("$dir/$_", $good{"$dir/$_"}) foreach @files;
	}
}
is(verify('t'), '', 'put back, all is sound');

# Files that cannot be read: an error of the system, and damage for who skips.

foreach my $kind ('log', 'batches')
{
	my $file = "$bases[1].$kind";
	@locked = ("$dir/$file");
	chmod 0, @locked;
	like(verify('t'), qr{^0\|$first[1]\|$first[1]\|file "0/$file" cannot be read at position 0: Permission denied$}m, ".$kind cannot be read");
	like(try_fetch('t', 'error'), qr{^ERROR:  42501: could not read file "0/$file": Permission denied}, 'an error');
	my ($n, $warnings) = try_fetch('t', 'skip');
	is($n, 60 - $first[2] + $first[1], 'which who skips passes over');
	like($warnings, qr{in file "0/$file" at position 0\nDETAIL:  Offsets $first[1] to \d+ of partition 0: the file cannot be read \(Permission denied\)\.}, 'with a warning');
	chmod 0600, @locked;
	@locked = ();
}

# More than there should be.

sub check_once
{
	my ($name, $expected) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is(verify('t'), $expected, "mq.verify: $name");
	is(try_fetch('t', 'error'), '', 'and readers are not concerned');
	return;
}

my ($log, $batches) = map { "$dir/$bases[0].$_" } 'log', 'batches';
my $size = length $good{$log};
spew($log, $good{$log} . 'more');
check_once('bytes behind the last batch', qq{0|0||file "0/$bases[0].log" has 4 bytes behind its last batch, from position $size on});
spew($log, $good{$log});
spew($batches, $good{$batches} . 'more');
check_once('bytes behind the last descriptor', qq{0|0||the size of file "0/$bases[0].batches", } . (4 + length $good{$batches}) . ' bytes, is no multiple of 48');
spew($batches, $good{$batches});
spew("$dir/$bases[2].log", $good{"$dir/$bases[2].log"} . 'more');
check_once('the same in the active segment', qq{0|$first[2]||file "0/$bases[2].log" has 4 bytes behind its last batch, from position } . (length $good{"$dir/$bases[2].log"}) . ' on');
spew("$dir/$bases[2].log", $good{"$dir/$bases[2].log"});
spew("$dir/$bases[2].batches", $good{"$dir/$bases[2].batches"} . $good{$batches});
check_once('descriptors behind the end', qq{0|$first[2]||file "0/$bases[2].batches" has } . (length $good{$batches}) . ' bytes behind its last descriptor');
spew("$dir/$bases[2].batches", $good{"$dir/$bases[2].batches"});
spew("$dir/00000000000000000070.log", $good{$log});
check_once('a segment behind the end', qq{0|||file "0/00000000000000000070.log" lies behind the end of the log});
unlink "$dir/00000000000000000070.log";
spew("$dir/$_", 'x') foreach '1.log', "st\xe4te", 'core';
is(join("\n", sort split /\n/, verify('t')), join("\n", map { qq{0|||file "0/$_" does not belong here} } '1.log', 'core', 'st?te'), 'strangers');
unlink map { "$dir/$_" } '1.log', "st\xe4te", 'core';

# The state file.

my $state = slurp_file("$dir/state");
unlink "$dir/state";
is(verify('t'), '0|||file "0/state" is missing', 'no state file');
spew("$dir/state", $state . 'more');
is(verify('t'), '0|||file "0/state" has 1028 bytes, not 1024', 'a state file that is too long');
spew("$dir/state", substr($state, 512) . substr($state, 0, 512));
like(verify('t'), qr{the slots of file "0/state" do not follow one another}, 'slots swapped');
spew("$dir/state", $state);

sub change_state
{
	my ($at, $bytes) = @_;
	my $new = $state;
	substr($new, $at, length $bytes) = $bytes;
	substr($new, 508, 4) = pack 'V', crc32c(substr($new, 0, 508)) ^ 0xffffffff;
	spew("$dir/state", $new);
	return;
}

change_state(40, pack 'q', 61);
like(verify('t'), qr{the state file says that the log starts at offset 61}, 'a log start behind the end');
change_state(48, pack 'Qqq', 1, 100, 100);
like(verify('t'), qr{a checkpoint at 0/1 vouches for \d+ batches in the segment at offset 100 and for log end 100}, 'a checkpoint that has seen more');
spew("$dir/state", $state);
is(verify('t'), '', 'put back, all is sound');

# A batch whose checksums are right, and which does not decode: another codec,
# a record that is too long.  Its last bytes are varied until the half of the
# checksum that ties descriptor and batch is as it was.

sub forge
{
	my ($bytes, $position, $length, $at, $new) = @_;
	my $batch = substr $bytes, $position, $length;
	my $tie = substr $batch, 19, 2;
	substr($batch, $at, length $new) = $new;
	my $part = crc32c(substr $batch, 21, -3);
	foreach my $n (0 .. 0xffffff)
	{
		my $end = substr pack('V', $n), 0, 3;
		my $crc = pack 'N', crc32c($end, $part) ^ 0xffffffff;
		next unless substr($crc, 2) eq $tie;
		substr($batch, -3) = $end;
		substr($batch, 17, 4) = $crc;
		substr($bytes, $position, $length) = $batch;
		return $bytes;
	}
	die 'no such checksum';
}

my ($offset_delta, undef, $position, $length) = unpack 'V4', substr $good{$batches}, 5 * 48, 48;
foreach my $case ([ 'gzip', 22, "\x01", 'compressed payload is damaged' ], [ 'snappy', 22, "\x02", 'compressed payload is damaged' ],
	[ 'zstd', 22, "\x04", 'compressed payload is damaged' ], [ 'a codec nobody knows', 22, "\x07", 'unknown' ], [ 'a record', 61, "\x7f", 'record' ])
{
	my ($name, $at, $new, $what) = @$case;
	spew($log, forge($good{$log}, $position, $length, $at, $new));
	like(verify('t'), qr{\A0\|0\|5\|.*: file "0/$bases[0]\.log" at position $position, offsets 5 to 5\z}, "$name: mq.verify");
	like(try_fetch('t', 'error'), qr{^ERROR:  XX001: damaged batch in file "0/$bases[0]\.log" at position $position\nDETAIL:  Offsets 5 to 5 of partition 0: }, 'an error');
	my ($n, $warnings) = try_fetch('t', 'skip');
	is($n, 59, 'passed over');
	like($warnings, qr{^WARNING:  XX001: damaged batch in file "0/$bases[0]\.log" at position $position\n}, 'with a warning');
}
spew($log, $good{$log});

# A descriptor that is sound, of a transaction that nobody knows.

sub seal
{
	my ($entry, $number) = @_;
	my ($uuid) = $dir =~ m{([0-9a-f-]{36})/0$};
	my $seed = pack 'H*', $uuid =~ tr/-//dr;
	return substr($entry, 0, 44) . pack 'V', crc32c($seed . pack('lqL', 0, 0, $number) . substr($entry, 0, 43)) ^ 0xffffffff;
}

my $entry = substr $good{$batches}, 5 * 48, 48;
is(seal($entry, 5), $entry, 'a descriptor as the server seals it');

sub change_descriptor
{
	my ($at, $bytes) = @_;
	my $new = $good{$batches};
	substr($entry, $at, length $bytes) = $bytes;
	substr($new, 5 * 48, 48) = seal($entry, 5);
	$entry = substr $good{$batches}, 5 * 48, 48;
	spew($batches, $new);
	return;
}

substr($entry, 43, 1) = "\0";
change_descriptor(24, pack 'Q', 1 << 40);
is(verify('t'), '0|0|5|descriptor 5: the fate of transaction 1099511627776 is unknown', 'unknown fate: mq.verify');
like(try_fetch('t', 'error'), qr{^ERROR:  XX001: damaged batch in file "0/$bases[0]\.batches" at position 240\nDETAIL:  Offsets 5 to 5 of partition 0: the fate of}, 'an error');
my ($n, $warnings) = try_fetch('t', 'skip');
is($n, 59, 'passed over');
like($warnings, qr{^WARNING:  XX001: damaged batch in file "0/$bases[0]\.batches" at position 240\n}, 'with a warning');

# Descriptors that are sound and do not follow one another.

change_descriptor(0, pack 'V', 6);
is(verify('t'), join("\n", '0|0|5|offsets 5 to 5 have no descriptor before number 5',
	qq{0|0|6|batch length is impossible: file "0/$bases[0].log" at position $position, offsets 6 to 6},
	'0|0|6|descriptor 6 begins at offset 6, the one before it ends at 7'), 'offsets that leave a gap, and come twice');
change_descriptor(8, pack 'V', $position + 1);
like(verify('t'), qr{^0\|0\|5\|descriptor 5 names position @{[$position + 1]}, the batch before it ends at $position$}m, 'positions');
change_descriptor(16, pack 'Q', 1);
like(verify('t'), qr{^0\|0\|5\|descriptor 5 has WAL position 0/1, the one before it \S+$}m, 'WAL positions');
change_descriptor(32, pack 'q', 1);
like(verify('t'), qr{^0\|0\|5\|descriptor 5 has greatest timestamp 1, the one before it 1704067200000$}m, 'timestamps');
spew($batches, $good{$batches});

# Of many damages not all are told.

$node->safe_psql('postgres', q{
	SELECT mq.create_topic('many', 1, '{"batch.size": 1024}');
	SELECT count(mq.produce('many', repeat('x', 1000))) FROM generate_series(1, 150)});
my $many = dir_of('many') . '/0/00000000000000000000.log';
my $bytes = slurp_file($many);
spew($many, "\0" x length $bytes);
is($node->safe_psql('postgres', q{SELECT count(*), max(detail) FILTER (WHERE bad_offset IS NULL) FROM mq.verify('many')}),
	'101|50 more are not shown', '100 rows for a segment');
spew($many, $bytes);
is(verify('many'), '', 'put back, all is sound');

# A standby looks at its own files.

$node->safe_psql('postgres', 'CHECKPOINT');
my $standby = new_standby($node, 'standby');
$node->safe_psql('postgres', q{CALL fill('t', 5)});
$node->wait_for_catchup($standby);
is(verify('t', $standby), '', 'sound on the standby');
is($standby->safe_psql('postgres', 'SELECT count(*) FROM mq.verify()'), $node->safe_psql('postgres', 'SELECT count(*) FROM mq.verify()'), 'as many segments');
spew($log =~ s/^\Q$data\E/$standby->data_dir/er, 'short');
like(verify('t', $standby), qr{\A0\|0\|0\|.*: file "0/$bases[0]\.log" at position 0, offsets 0 to 0$}m, 'damage on the standby');
is(verify('t'), '', 'is not on the primary');
spew($log =~ s/^\Q$data\E/$standby->data_dir/er, $good{$log});

# Under load nothing looks damaged, on either side.

$node->safe_psql('postgres', q{
	SELECT mq.create_topic('load', 3, '{"segment.bytes": 65536, "compression.type": "lz4"}');
	CREATE TABLE stop (x int);
	CREATE PROCEDURE load(seed float) LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM setseed(seed);
		WHILE NOT EXISTS (SELECT FROM stop) LOOP
			PERFORM mq.produce('load', repeat(md5(random()::text), (random() * 100)::int), transactional => random() < 0.9)
			FROM generate_series(1, (random() * 20)::int);
			IF random() < 0.1 THEN ROLLBACK; ELSE COMMIT; END IF;
		END LOOP;
	END $$;});
my @load = map { $node->background_psql('postgres') } 1 .. 3;
$load[$_]->query_until(qr/begun/, "\\echo begun\nCALL load(0.$_);\n\\echo done\n") foreach 0 .. 2;
my @bad;
foreach my $round (1 .. 40)
{
	$node->safe_psql('postgres', 'CHECKPOINT') if $round % 5 == 0;
	$standby->safe_psql('postgres', 'CHECKPOINT') if $round % 10 == 0;
	push @bad, verify('load'), verify('load', $standby);
}
is(join("\n", grep { $_ ne '' } @bad), '', 'nothing is damaged while others write');
$node->safe_psql('postgres', 'INSERT INTO stop VALUES (1)');
$_->query_until(qr/done/, '') foreach @load;
$_->quit foreach @load;
cmp_ok($node->safe_psql('postgres', q{SELECT count(*) FROM mq.verify('load')}), '>', 10, 'and there was something to look at');
$standby->stop;

# Progress, while a verify stands still at its second segment: who sees it, and
# that it goes with the statement that failed.

$node->safe_psql('postgres', q{
	CREATE ROLE reader; CREATE ROLE stranger; CREATE ROLE monitor IN ROLE pg_monitor;
	GRANT SELECT ON mq_topics.t TO reader;});
my $progress = q{SELECT operation, topic, partition, phase, done > 0 AND done < total, total > 180000, started_at <= clock_timestamp() FROM mq.stat_progress};
my ($holder, $session) = map { $node->background_psql('postgres', on_error_stop => 0) } 1 .. 2;
hold_fault($holder, 'verify_segment');
$session->query_until(qr/begun/, "\\echo begun\nSET mq.faults = 'verify_segment:pause:2:1';\nSELECT count(*) FROM mq.verify('t');\n\\echo :SQLSTATE done\n");
wait_for_pause($node, 'verify_segment');
is($node->safe_psql('postgres', $progress), 'verify|t|0|reading segments|t|t|t', 'progress');
is($node->safe_psql('postgres', q{SELECT pid = (SELECT pid FROM pg_stat_activity WHERE query LIKE '%mq.verify(''t'')%' AND pid <> pg_backend_pid()) FROM mq.stat_progress}), 't', 'of that process');
foreach my $case ([ reader => 1 ], [ stranger => 0 ], [ monitor => 1 ])
{
	is($node->safe_psql('postgres', "SET ROLE $case->[0]; SELECT count(*) FROM mq.stat_progress"), $case->[1], "seen by $case->[0]");
}
$node->safe_psql('postgres', 'CREATE DATABASE other');
is($node->safe_psql('other', 'CREATE EXTENSION mq_ext; SELECT count(*) FROM mq.stat_progress'), 0, 'not seen in another database');
$node->safe_psql('postgres', q{SELECT pg_cancel_backend(pid) FROM mq.stat_progress});
like($session->query_until(qr/done/, ''), qr/^57014 done$/m, 'cancelled');
is($node->safe_psql('postgres', $progress), '', 'then there is none');

# one that is killed
$session->query_until(qr/begun/, "\\echo begun\nSET mq.faults = 'verify_segment:pause';\nSELECT count(*) FROM mq.verify('t');\n\\echo done\n");
wait_for_pause($node, 'verify_segment');
my $pid = $node->safe_psql('postgres', 'SELECT pid FROM mq.stat_progress');
$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
wait_until(sub { $node->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE pid = $pid") eq '0' }, 'it is gone');
is($node->safe_psql('postgres', $progress), '', 'one that is terminated leaves none');
release_fault($holder, 'verify_segment');

# one that fails inside a block that goes on
is($node->safe_psql('postgres', q{
	SET mq.faults = 'verify_segment:error:2:1';
	BEGIN;
	DO $$BEGIN PERFORM mq.verify('t'); RAISE 'did not fail'; EXCEPTION WHEN OTHERS THEN IF SQLERRM = 'did not fail' THEN RAISE; END IF; END$$;
	SELECT count(*) FROM mq.stat_progress;
	COMMIT;}), '0', 'nor does one whose error was caught');

# Segments that go meanwhile: before the folder is looked at, between two
# segments, and all of them that there were.

foreach my $case ([ verify_begun => 1, 40 ], [ verify_segment => 2, 80 ], [ verify_segment => 1, 200 ])
{
	my ($point, $first, $to) = @$case;
	my $verifying = $node->background_psql('postgres', on_error_stop => 0);

	hold_fault($holder, $point);
	$verifying->query_until(qr/begun/, "\\echo begun\nSET mq.faults = '$point:pause:$first:1';\nSELECT count(*) > 0, max(detail) FROM mq.verify('t');\n\\echo done\n");
	wait_for_pause($node, $point);
	$node->safe_psql('postgres', "CALL fill('t', 60); SELECT mq.delete_records('t', 0, $to)");
	wait_until(sub { (glob "$dir/0*.log")[0] =~ /(\d{20})/ && $1 > $to - 25 }, 'the files are gone');
	release_fault($holder, $point);
	is($verifying->query_until(qr/done/, ''), ($to == 200 ? 'f|' : 't|') . "\ndone\n", "files that go at $point, $first");
	$verifying->quit;
	is(verify('t'), '', 'nor does anything miss them later');
}

# A topic that is being dropped is waited for.

$holder->query_safe(q{BEGIN; SELECT mq.drop_topic('many')});
my $waiting = $node->background_psql('postgres', on_error_stop => 0);
$waiting->query_until(qr/begun/, "\\echo begun\nSELECT * FROM mq.verify('many');\n\\echo :SQLSTATE\nSELECT count(*) FROM mq.verify() WHERE topic_name = 'many';\n\\echo done\n");
$node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_locks WHERE NOT granted AND relation = 'mq_topics.many'::regclass AND mode = 'AccessShareLock'}) or die;
$holder->query_safe('COMMIT');
is($waiting->query_until(qr/done/, ''), "42704\n0\ndone\n", 'dropped meanwhile');
$_->quit foreach $waiting, $holder;

# A log that boot could not read; a topic that has lost all of its files.

@locked = (dir_of('load') . '/1');
$node->stop;
chmod 0300, @locked;
system_or_bail('rm', '-rf', $dir =~ s{/0$}{}r);
$node->start;
is(verify('load'), '1|||the log is disabled: its files could not be read when the server started, or when it was opened', 'a log that is disabled');
is($node->safe_psql('postgres', q{SELECT partition, base_offset, status, detail FROM mq.verify('t')}), q{||damaged|the topic's log files are missing}, 'a topic without files');
is($node->safe_psql('postgres', q{SELECT DISTINCT topic_name FROM mq.verify() ORDER BY 1}), "load\nt", 'all of that with all topics');
$node->stop;
chmod 0700, @locked;
@locked = ();

unlike(slurp_file($node->logfile) . slurp_file($standby->logfile), qr/PANIC|TRAP|was terminated by signal/, 'nothing crashed');
done_testing();
