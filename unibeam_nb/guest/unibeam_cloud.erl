%% User data at boot: a short run of the emulator, before the release's own, that PID 1 starts where it found a source
%% (cloud.c). It reads the user data, applies what docs/cloud-init.md lists, and ends.
%%
%% It runs on a boot script of its own with these modules and nothing else, so that it is the same on every release,
%% whatever was shaken out of it: only BIFs and modules inside the emulator (preloaded) may be called.
%%
%% Environment:
%%   UNIBEAM_CLOUD       where the user data is: "disk /dev/vdb", "url http://ADDRESS/", "ec2 http://169.254.169.254/";
%%                       or "check", which ends at once: the emulator took its flags
%%   UNIBEAM_CLOUD_ROOT  a directory that stands for / (empty in a machine)
%%
%% Input: /etc/unibeam/argv, the release's command line. Output, all in /run/unibeam and only where it changes:
%%   hostname        the machine's name
%%   argv            the command line with the node's settings; argv.plain is the same without vm_args
%%   flags           the words of vm_args, which PID 1 tries out
%%   cloud.config    the applications' environment, which argv refers to
%% and a line on the console for everything that was refused or ignored.
%%
%% What comes from outside is bounded: 64 KB of user data, 8 MB of files, 20 seconds for a network.
-module(unibeam_cloud).

-export([main/0, say/1]).

-define(LIMIT, 65536).
-define(NETWORK_MS, 20000).
-define(LONGEST_LINE, 300).

main() ->
    Code = try os:getenv("UNIBEAM_CLOUD") of
        "check" -> 0;
        Source -> run(Source, root())
    catch
        Class:Reason ->
            %% Nothing from outside may keep a machine from starting: whatever this was, it is refused.
            say(["user data is refused: it cannot be dealt with (", atom_to_list(Class), $\s, reason(Reason),
                 "); the image's own settings hold."]),
            1
    end,
    erlang:halt(Code, [{flush, false}]).

root() ->
    case os:getenv("UNIBEAM_CLOUD_ROOT") of false -> ""; Root -> Root end.

reason(Reason) when is_atom(Reason) -> atom_to_list(Reason);
reason(Reason) when is_tuple(Reason), is_atom(element(1, Reason)) -> atom_to_list(element(1, Reason));
reason(_) -> "unknown".

run(Source, Root) ->
    case fetch(Source) of
        none -> 0;
        {error, Why} -> refused(["user data cannot be had from ", Source, ": ", Why]);
        {ok, too_large, _} -> refused("user data is larger than 64 KB, and refused");
        {ok, Bytes, Meta} ->
            case settings(Bytes, Meta) of
                {error, 0, Why} -> refused(["user data is refused: ", Why]);
                {error, Line, Why} ->
                    refused(["user data is refused, line ", integer_to_list(Line), ": ", Why]);
                Settings -> apply_all(Settings, Root)
            end
    end.

refused(Sentence) ->
    say([Sentence, "; the image's own settings hold."]),
    1.

%% ---- where it is ------------------------------------------------------------------------------------------

%% {ok, UserData, MetaData}, {error, Why} or none.
fetch("disk " ++ Device) ->
    case unibeam_cloud_disk:read(Device, [<<"user-data">>, <<"meta-data">>], ?LIMIT) of
        {error, Why} -> {error, Why};
        {ok, Files} ->
            case lists:keyfind(<<"user-data">>, 1, Files) of
                {_, Bytes} -> {ok, Bytes, value(<<"meta-data">>, Files)};
                false -> {error, "there is no file user-data on it"}
            end
    end;
fetch("url " ++ Url) ->
    Base = case lists:reverse(Url, []) of "/" ++ _ -> Url; _ -> Url ++ "/" end,
    Deadline = deadline(),
    case unibeam_cloud_http:get(Base ++ "user-data", [], ?LIMIT, Deadline) of
        {ok, Bytes} ->
            {ok, Bytes, case unibeam_cloud_http:get(Base ++ "meta-data", [], ?LIMIT, Deadline) of
                {ok, Meta} -> Meta;
                _ -> <<>>
            end};
        Other -> failed(Other)
    end;
fetch("ec2 " ++ Base) ->
    %% Version 2 of the instance metadata service: a token first, which answers to a PUT only.
    Deadline = deadline(),
    Life = {"X-aws-ec2-metadata-token-ttl-seconds", "60"},
    case unibeam_cloud_http:put(Base ++ "latest/api/token", [Life], 1024, Deadline) of
        {ok, Token} ->
            Header = [{"X-aws-ec2-metadata-token", Token}],
            case unibeam_cloud_http:get(Base ++ "latest/user-data", Header, ?LIMIT, Deadline) of
                {ok, Bytes} -> {ok, Bytes, <<>>};
                {status, <<"404">>} -> none;
                Other -> failed(Other)
            end;
        Other -> failed(Other)
    end.

failed({error, too_large}) -> {ok, too_large, <<>>};
failed({status, Code}) -> {error, ["it answers ", Code]};
failed({error, Why}) -> {error, Why}.

deadline() -> erlang:monotonic_time(millisecond) + ?NETWORK_MS.

value(Key, Pairs) ->
    case lists:keyfind(Key, 1, Pairs) of {_, Value} when is_binary(Value) -> Value; _ -> <<>> end.

%% ---- what it says -----------------------------------------------------------------------------------------

settings(<<16#1f, 16#8b, _/binary>> = Packed, Meta) ->
    case unibeam_cloud_files:gunzip(Packed, ?LIMIT) of
        {ok, Bytes} -> settings(Bytes, Meta);
        {error, Why} -> {error, 0, Why}
    end;
settings(Bytes, Meta) ->
    case kind(hd(binary:split(Bytes, <<"\n">>))) of
        empty -> checked([], Meta);
        cloud_config ->
            case unibeam_cloud_yaml:parse(Bytes) of
                {ok, {map, Pairs}} -> checked(Pairs, Meta);
                {ok, null} -> checked([], Meta);
                {ok, _} -> {error, 1, "it is no mapping of keys to values"};
                {error, Line, Why} -> {error, Line, Why}
            end;
        Why -> {error, 1, Why}
    end.

kind(<<"#cloud-config", Rest/binary>>) when Rest =:= <<>>; Rest =:= <<"\r">>; binary_part(Rest, 0, 1) =:= <<" ">> ->
    cloud_config;
kind(<<"#!", _/binary>>) -> "it is a script, and no shell is here to run it";
kind(<<"#include", _/binary>>) -> "it includes other user data, which is not read";
kind(<<"## template:", _/binary>>) -> "it is a template, which is not filled in here";
kind(<<"Content-Type:", _/binary>>) -> "it has many parts (MIME), which are not read";
kind(<<"MIME-Version:", _/binary>>) -> "it has many parts (MIME), which are not read";
kind(<<>>) -> empty;
kind(_) -> "it does not begin with #cloud-config".

%% Everything is looked at before anything is done. A map with what to do, or {error, Line, Why}.
checked(Pairs, Meta) ->
    try
        Begun = #{hostname => meta_hostname(Meta), files => [], erlang => #{}, notices => []},
        each(Pairs, Begun)
    catch
        throw:{refuse, Line, Why} -> {error, Line, Why}
    end.

each([{Key, Line, Value} | Rest], Settings) -> each(Rest, one(Key, Line, Value, Settings));
each([], Settings) -> Settings.

one(<<"hostname">>, Line, Value, Settings) -> named(Line, Value, Settings, host);
one(<<"fqdn">>, Line, Value, Settings) -> named(Line, Value, Settings, fqdn);
one(<<"write_files">>, _, Files, Settings) when is_list(Files) ->
    Settings#{files := Files};
one(<<"write_files">>, Line, _, _) ->
    throw({refuse, Line, "write_files is a list"});
one(<<"erlang">>, Line, Value, Settings) ->
    Settings#{erlang := unibeam_cloud_node:checked(Value, Line)};
one(Key, _, _, Settings) when Key =:= <<"prefer_fqdn_over_hostname">>; Key =:= <<"preserve_hostname">> ->
    Settings;
one(Key, Line, _, #{notices := Notices} = Settings) ->
    Settings#{notices := [["line ", integer_to_list(Line), ": ", Key, " is ignored: ", why(Key)] | Notices]}.

why(Key) ->
    Reasons = [
        {<<"users">>, "the only user is the program's, and there is no ssh"},
        {<<"groups">>, "the only user is the program's"},
        {<<"ssh_authorized_keys">>, "there is no ssh"},
        {<<"ssh_keys">>, "there is no ssh"},
        {<<"password">>, "there is no login"},
        {<<"chpasswd">>, "there is no login"},
        {<<"ntp">>, "the clock is the machine monitor's"},
        {<<"timezone">>, "the clock shows UTC"},
        {<<"locale">>, "it is C.UTF-8"},
        {<<"runcmd">>, "there is no shell"},
        {<<"bootcmd">>, "there is no shell"},
        {<<"packages">>, "there is no package manager"},
        {<<"apt">>, "there is no package manager"}],
    case lists:keyfind(Key, 1, Reasons) of
        {_, Reason} -> Reason;
        false -> "a machine with one program has no use for it"
    end.

%% The qualified name wins over the short one, in whichever order they come.
named(Line, Value, Settings, Kind) when is_binary(Value) ->
    Known = maps:is_key(fqdn, Settings),
    is_hostname(Value) orelse throw({refuse, Line, "this is no host name"}),
    case Kind of
        fqdn -> Settings#{hostname := Value, fqdn => true};
        host when Known -> Settings;
        host -> Settings#{hostname := Value}
    end;
named(Line, _, _, _) ->
    throw({refuse, Line, "this is no host name"}).

%% What RFC 1123 allows, no longer than Linux does.
is_hostname(Name) ->
    byte_size(Name) =< 63 andalso
        [] =:= [bad || Label <- binary:split(Name, <<".">>, [global]), not is_label(Label)].

is_label(<<>>) -> false;
is_label(Label) ->
    [] =:= [Byte || <<Byte>> <= Label, not (Byte >= $a andalso Byte =< $z orelse Byte >= $A andalso Byte =< $Z
                                            orelse Byte >= $0 andalso Byte =< $9 orelse Byte =:= $-)]
        andalso binary:first(Label) =/= $- andalso binary:last(Label) =/= $-.

%% The name in a NoCloud source's meta-data, which are YAML, too (and no matter when they are something else).
meta_hostname(Meta) ->
    case unibeam_cloud_yaml:parse(Meta) of
        {ok, {map, Pairs}} ->
            case [Value || {Key, _, Value} <- Pairs, Key =:= <<"local-hostname">> orelse Key =:= <<"hostname">>,
                           is_binary(Value), is_hostname(Value)] of
                [Name | _] -> Name;
                [] -> none
            end;
        _ -> none
    end.

%% ---- doing it ---------------------------------------------------------------------------------------------

apply_all(#{hostname := Hostname, files := Files, erlang := Erlang, notices := Notices}, Root) ->
    Out = Root ++ "/run/unibeam/",
    _ = prim_file:make_dir(Root ++ "/run/unibeam"),
    _ = [say(Notice) || Notice <- lists:reverse(Notices, [])],
    unibeam_cloud_files:write(Files, Root),
    Hostname =:= none orelse keep(Out ++ "hostname", Hostname),
    _ = [keep(Out ++ Name, Text) || {Name, Text} <- unibeam_cloud_node:outcome(Erlang, Hostname, Root)],
    0.

keep(Path, Text) ->
    ok = prim_file:write_file(Path, Text).

%% One line on the console. Words of the user data may be in it, so nothing that is not printable is let through.
say(Sentence) ->
    Flat = iolist_to_binary(["unibeam-cloud: ", Sentence]),
    Short = binary:part(Flat, 0, min(byte_size(Flat), ?LONGEST_LINE)),
    Plain = [case Byte >= 32 andalso Byte < 127 of true -> Byte; false -> $? end || <<Byte>> <= Short],
    _ = erlang:display_string("\r\n" ++ Plain ++ "\r\n"),
    ok.
