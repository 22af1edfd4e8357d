# Damaged files: what is read is true or reported, never wrong, and the server
# stays up.  Damage in many ways while it runs (foreign/damage.py), then of all
# three files before a start.
#
#	MQ_DAMAGE_SEED=4711 MQ_DAMAGE_PERCENT=5 MQ_DAMAGE_BOOTS=2
#
# PERCENT of the bytes of a segment are damaged (300 = each in three ways).
use strict;
use warnings;

use File::Basename qw(dirname);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use MqTest;

my $seed = $ENV{MQ_DAMAGE_SEED} // 4711;
my $percent = $ENV{MQ_DAMAGE_PERCENT} // 5;
my $boots = $ENV{MQ_DAMAGE_BOOTS} // 2;
my $partitions = 40;
note "MQ_DAMAGE_SEED=$seed MQ_DAMAGE_PERCENT=$percent MQ_DAMAGE_BOOTS=$boots";
srand $seed;

my $node = new_node('damage', conf => 'log_min_messages = error');
my $data = $node->data_dir;

sub dir_of
{
	my ($topic) = @_;
	return $data . '/' . $node->safe_psql('postgres', qq{
		SELECT 'pg_mq/' || d.oid || '/' || t.topic_id FROM mq.topics t, pg_database d
		WHERE t.topic = '$topic' AND d.datname = current_database()});
}

# Two segments; batches of one to three messages; one of a transaction that
# failed after its append.
$node->safe_psql('postgres', qq{
	CREATE TABLE skew (k int PRIMARY KEY, v int);
	INSERT INTO skew VALUES (1, 0), (2, 0);
	SELECT mq.create_topic('live', 2, '{"segment.bytes": 65536}');
	CREATE PROCEDURE fill(topic text, part int, n int) LANGUAGE plpgsql AS \$\$
	BEGIN
		FOR i IN 1 .. n LOOP
			FOR j IN 0 .. i % 3 LOOP
				PERFORM mq.produce(topic, repeat(md5(part || ' ' || i || ' ' || j), 1 + (i * 7 + part) % 20), key => i::text,
					headers => jsonb_build_object('i', i::text), tags => ARRAY['t' || j], partition => part);
			END LOOP;
			COMMIT;
		END LOOP;
	END \$\$;
	CALL fill('live', 0, 30);
	CALL fill('live', 1, 150);});
my @skew = map { $node->background_psql('postgres', on_error_stop => 0) } (1, 2);
$_->query('BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT sum(v) FROM skew') foreach @skew;
$skew[ $_ - 1 ]->query("UPDATE skew SET v = v + 1 WHERE k = $_") foreach (1, 2);
$skew[1]->query("SELECT count(mq.produce('live', 'aborted ' || i, partition => 0)) FROM generate_series(1, 20) i");
$_->query('COMMIT') foreach @skew;
like($skew[1]->{stderr}, qr/could not serialize access/, 'a transaction fails at its end');
$_->quit foreach @skew;
$node->safe_psql('postgres', qq{
	CALL fill('live', 0, 150);
	CHECKPOINT;
	CREATE TABLE truth AS SELECT * FROM mq.fetch('live', NULL, NULL, 1000000, 1000000000);});
my $live = dir_of('live');

# Wait until nothing but we writes to the segment any more.
wait_until(sub { slurp_file("$live/0/00000000000000000000.batches") !~ /\A(?:.{48})*.{43}[\x00-\x7f].{4}/s }, 'all is settled');
cmp_ok(scalar(my @segments = glob "$live/0/0*.log"), '>', 1, 'the segment is closed');

my ($out, $err) = ('', '');
my $ok = run_log(
	[
		'/usr/bin/python3', dirname(__FILE__) . '/foreign/damage.py', '--conninfo', $node->connstr('postgres'),
		'--topic', 'live', '--dir', "$live/0", '--other', "$live/1", '--seed', $seed, '--percent', $percent
	], '>', \$out, '2>', \$err);
foreach my $line (split /\n/, $out)
{
	ok(!defined $2, $3) if $line =~ /^((not )?ok) \d+ - (.*)/;
	diag $line if $line =~ /^#/;
}
ok($ok && $err eq '', 'damage while it runs') or diag $err;

# A whole batch that belongs elsewhere: of the same size and offset, but with
# another number of messages, or with later ones.
$node->safe_psql('postgres', q{
	SELECT mq.create_topic('twins', 4);
	SELECT count(mq.produce('twins', repeat('a', 10), partition => 0, ts => '2024-01-01')) FROM generate_series(1, 2);
	SELECT count(mq.produce('twins', repeat('b', 27), partition => 1, ts => '2024-01-01'));
	SELECT count(mq.produce('twins', repeat('c', 10), partition => 2, ts => '2025-01-01')) FROM generate_series(1, 2);
	SELECT count(mq.produce('twins', repeat('d', 10), partition => 3, ts => '2024-01-01')) FROM generate_series(1, 2);});
my @twins = map { dir_of('twins') . "/$_/00000000000000000000.log" } (0 .. 3);
is(join(' ', map { -s $_ } @twins), join(' ', (-s $twins[0]) x 4), 'batches of the same size');
foreach my $twin (1 .. 3)
{
	system_or_bail('cp', $twins[$twin], $twins[0]);
	my (undef, undef, $error) = $node->psql('postgres', "\\set VERBOSITY verbose\nSELECT * FROM mq.fetch_text('twins', 0)");
	like($error, qr/XX001/, 'a batch of partition ' . $twin . ' in the place of one of partition 0');
}

# Damage before a start: each partition has one of its files damaged in one way.
$node->safe_psql('postgres', "SELECT mq.create_topic('boot', $partitions)");
$node->safe_psql('postgres', "CALL fill('boot', $_, 12)") foreach (0 .. $partitions - 1);
$node->safe_psql('postgres', q{
	CHECKPOINT;
	INSERT INTO truth SELECT * FROM mq.fetch('boot', NULL, NULL, 1000000, 1000000000);
	CREATE FUNCTION look(part int, mode text, OUT state text, OUT wrong int, OUT missing int) LANGUAGE plpgsql AS $$
	BEGIN
		SELECT 'read', count(*) FILTER (WHERE f.msg_offset IS NOT NULL AND ROW(f.*) IS DISTINCT FROM ROW(t.*)),
			count(*) FILTER (WHERE f.msg_offset IS NULL)
		INTO state, wrong, missing
		FROM mq.fetch('boot', part, NULL, 1000000, 1000000000, on_damage => mode) f
			FULL JOIN (SELECT * FROM truth t WHERE t.topic = 'boot' AND t.partition = part) t ON t.msg_offset = f.msg_offset;
	EXCEPTION WHEN OTHERS THEN
		state := SQLSTATE;
	END $$;});
wait_until(
	sub { !grep { slurp_file($_) =~ /\A(?:.{48})*.{43}[\x00-\x7f].{4}/s } glob dir_of('boot') . '/*/0*.batches' },
	'all is settled');
my $boot = dir_of('boot');

sub spoil
{
	my ($path) = @_;
	my $bytes = slurp_file($path);
	my $at = int(rand(length $bytes));
	my $how = int(rand(6));
	my $other = $path;
	substr($bytes, $at, 1) = chr(ord(substr($bytes, $at, 1)) ^ (1 << int(rand 8))) if $how == 0;
	substr($bytes, $at, 1) = $how == 1 ? "\x00" : "\xff" if $how == 1 || $how == 2;
	substr($bytes, $at) = '' if $how == 3;
	substr($bytes, $at, 512) = "\x00" x length(substr($bytes, $at, 512)) if $how == 4;
	$other =~ s{/(\d+)/([^/]+)$}{'/' . ($1 + 1) % $partitions . "/$2"}e;
	$bytes = slurp_file($other) if $how == 5;
	return undef if $bytes eq slurp_file($path);
	open my $fh, '>:raw', $path or die "$path: $!";
	print $fh $bytes;
	close $fh;
	return sprintf('%s %s at %d', $path =~ m{([^/]+)$}, ('flip', '0x00', '0xff', 'cut', 'zeros', 'stranger')[$how], $at);
}

# The bytes of a file, but for hints: the settler may have to begin anew.
sub bytes_of
{
	my ($path) = @_;
	my $bytes = slurp_file($path);
	$bytes =~ s/\G(.{43})./$1-/sg if $path =~ /batches$/;
	return $bytes;
}

# After a start: does mq.verify name what was damaged, and only that, and are
# the files as they were left?  Only what is longer than it was may be cut.
sub check_verify
{
	my ($how, $left, $files) = @_;
	my (%told, @wrong);
	foreach my $line (split /\n/, $node->safe_psql('postgres', q{
		SELECT partition, coalesce(base_offset::text, 'whole'), status FROM mq.verify('boot')}))
	{
		my ($p, $base, $status) = split /\|/, $line;
		$told{$p}{$base}{$status} = 1;
	}
	foreach my $p (0 .. $partitions - 1)
	{
		my $kind = $p % 3 == 2 ? 'whole' : '0';
		my $damaged = join ' ', grep { $told{$p}{$_}{damaged} } sort keys %{ $told{$p} // {} };
		my ($now, $was) = (bytes_of($files->[$p]), $left->[$p]);
		my $good = $files->[$p] =~ s/^\Q$boot\E/$data.boot/r;
		# this hint is written again by the settler
		next if defined $how->{$p} && $how->{$p} =~ /batches .* at (\d+)/ && $1 == length($was) - 5;
		push @wrong, ($how->{$p} // 'nothing') . " in partition $p: verify says '$damaged'"
		  unless $damaged eq (defined $how->{$p} ? $kind : '');
		push @wrong, "$how->{$p} in partition $p: the file has been changed"
		  if defined $how->{$p} && $now ne substr($was, 0, length($was) > -s $good ? -s $good : length $was);
	}
	return @wrong;
}

foreach my $round (1 .. $boots)
{
	my (%how, %states, @wrong, @left);
	$node->stop($round % 2 ? 'fast' : 'immediate');
	system_or_bail('cp', '-a', $boot, "$data.boot");
	my @files = map { "$boot/$_/" . ('00000000000000000000.log', '00000000000000000000.batches', 'state')[ $_ % 3 ] } (0 .. $partitions - 1);
	$how{$_} = spoil($files[$_]) foreach (0 .. $partitions - 1);
	@left = map { bytes_of($_) } @files;
	$node->start;
	foreach my $line (split /\n/, $node->safe_psql('postgres', qq{
		SELECT p, e.state, e.wrong, e.missing, s.state, s.wrong, s.missing
		FROM generate_series(0, $partitions - 1) p, look(p, 'error') e, look(p, 'skip') s ORDER BY 1}))
	{
		my ($p, $state, $wrong, $missing, $skip_state, $skip_wrong, $skip_missing) = split /\|/, $line, -1;
		my $good = $state eq 'read' ? $wrong == 0 && $missing == 0 : $state eq 'XX001';
		my $skip_good = $skip_state eq 'read' && $skip_wrong == 0 && ($skip_missing > 0) == ($state ne 'read');
		push @wrong, ($how{$p} // 'nothing') . ": $line" unless $good && $skip_good;
		$states{$state}++;
	}
	is(join("\n", @wrong), '', "start $round: true messages or XX001, and the rest with skip");
	ok($states{read} && $states{XX001}, "start $round: some damage shows, some does not");
	is(join("\n", check_verify(\%how, \@left, \@files)), '', "start $round: mq.verify names all of it, and nothing else");
	$node->stop;
	system_or_bail('rm', '-rf', $boot);
	system_or_bail('mv', "$data.boot", $boot);
	$node->start;
	is($node->safe_psql('postgres', qq{
		SELECT count(*) FROM generate_series(0, $partitions - 1) p, look(p, 'error') e
		WHERE e.state <> 'read' OR e.wrong > 0 OR e.missing > 0}), 0, "start $round: with the files put back all is there");
}

unlike(slurp_file($node->logfile), qr/PANIC|TRAP|was terminated by signal/, 'nothing crashed');
$node->stop;
done_testing();
