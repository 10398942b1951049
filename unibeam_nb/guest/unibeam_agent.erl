%% The guest agent: prints the marks `beam` and `app`, the same in every arm.
%%
%% A mark is one console line `@unibeam NONCE NAME NANOSECONDS [KEY=VALUE]`, on the operating system's
%% monotonic clock. It is written without an I/O system, because `beam` is marked when only the preloaded modules
%% and this one exist, and in one system call, so that nothing the program prints meanwhile gets into it. Without a
%% nonce nothing is printed.
-module(unibeam_agent).

-export([init/1, handle_event/2, handle_call/2, handle_info/2]).
-export([beam/0, expose/0, hide/0, ready/0, ready/1, console/0, mark/2, mark/4, memory/0]).

-define(NONCE, "UNIBEAM_NONCE").
%% Set only where the boot asked for it: see unibeam_channel.erl. Programs that this node starts never see it.
-define(CHANNEL, "UNIBEAM_CHANNEL").

%% The boot script calls this right after the preloaded modules. Only BIFs, preloaded modules and `os`
%% may be used here.
beam() ->
    case os:getenv(?NONCE) of
        "again " ++ Nonce ->
            remember(Nonce);
        false ->
            prepare();
        Nonce ->
            remember(Nonce),
            mark("beam", ""),
            prepare()
    end.

%% `-s unibeam_agent ready` comes last on the command line: every application is started then. The question
%% to the application controller is answered only after it has dealt with an application that failed, which
%% ends the node: a crash at start can never count as a good boot.
ready() ->
    _ = application:which_applications(infinity),
    record(os:getenv("UNIBEAM_RECORD")),
    Copied = os:getenv("UNIBEAM_SNAPSHOT"),
    Channel = persistent_term:get(?CHANNEL, none),
    mark("app", memory() ++ open(Channel, Copied)),
    _ = persistent_term:erase(?MODULE),
    show_life(os:getenv("UNIBEAM_HEART")),
    _ = hear_of_the_end(),
    case Copied of
        false -> ok;
        Line -> unibeam_resume:start(Line, Channel)
    end.

%% Only where PID 1 watches the program (guest/watch.c).
show_life(false) -> ok;
show_life(Words) -> unibeam_heart:start(Words).

%% SIGTERM stops the node as OTP's own handler does, but without a second of waiting (unibeam_stop.erl). A handler that
%% somebody else has put there stays. This module is the new one, so that nothing is loaded at a start.
hear_of_the_end() ->
    gen_event:swap_handler(erl_signal_server, {erl_signal_handler, []}, {?MODULE, []}).

init({[], error}) -> {error, not_there};
init(_) -> {ok, []}.

handle_event(sigterm, State) ->
    _ = unibeam_stop:start(),
    {ok, State};
handle_event(Signal, State) ->
    _ = erl_signal_handler:handle_event(Signal, State),
    {ok, State}.

handle_call(_Request, State) -> {ok, ok, State}.

handle_info(_Message, State) -> {ok, State}.

%% A machine that is to be copied opens nothing: each copy does, with a secret of its own.
open(none, _Copied) ->
    "";
open(Channel, Copied) ->
    true = persistent_term:erase(?CHANNEL),
    case Copied of
        false -> unibeam_channel:open(Channel);
        _ -> ""
    end.

%% A start on the build host, to learn which modules a start needs: they are written down, and that was all.
record(false) ->
    ok;
record(File) ->
    ok = prim_file:write_file(File, [[atom_to_list(Module), $\n] || Module <- erlang:loaded()]),
    erlang:halt(0, [{flush, false}]).

%% Some allocator flags leave the emulator without a total.
memory() ->
    try " memory=" ++ integer_to_list(erlang:memory(total))
    catch error:notsup -> ""
    end.

%% `-s unibeam_agent ready MODULE FUNCTION`: first wait for a system that starts on in the background.
%% With MODULE FUNCTION ARGUMENT after that: call this when it is up.
ready([Module, Function]) ->
    _ = Module:Function(),
    ready();
ready([Module, Function, ThenModule, ThenFunction, Argument]) ->
    _ = Module:Function(),
    _ = ThenModule:ThenFunction(Argument),
    ready().

%% A configuration provider may restart the whole emulator system once, which wipes everything but the
%% environment. The nonce goes there and back around that instruction, and says that `beam` is marked.
expose() ->
    case persistent_term:get(?CHANNEL, none) of
        none -> true;
        Channel -> os:putenv(?CHANNEL, Channel)
    end,
    case persistent_term:get(?MODULE, none) of
        none -> true;
        Nonce -> os:putenv(?NONCE, "again " ++ Nonce)
    end.

hide() ->
    os:unsetenv(?CHANNEL),
    os:unsetenv(?NONCE).

remember(Nonce) ->
    true = os:unsetenv(?NONCE),
    persistent_term:put(?MODULE, Nonce),
    case os:getenv(?CHANNEL) of
        false -> ok;
        Channel -> true = os:unsetenv(?CHANNEL), persistent_term:put(?CHANNEL, Channel)
    end.

mark(Name, Pairs) ->
    case persistent_term:get(?MODULE, none) of
        none -> ok;
        Nonce ->
            Console = console(),
            mark(Console, Nonce, Name, Pairs),
            close(Console)
    end.

%% What the emulator's standard error is, to be written to by the process that asked.
console() -> prim_file:open("/proc/self/fd/2", [append]).

close({ok, File}) -> _ = prim_file:close(File), ok;
close({error, _}) -> ok.

%% Without a console, as on OSv, erlang:display_string/1 has to do, which writes byte by byte.
mark(Console, Nonce, Name, Pairs) ->
    Now = integer_to_list(now_ns()),
    Line = "\r\n@unibeam " ++ Nonce ++ " " ++ Name ++ " " ++ Now ++ Pairs ++ "\r\n",
    _ = case Console of
        {ok, File} -> prim_file:write(File, Line);
        _ -> erlang:display_string(Line)
    end,
    ok.

%% lists:keyfind/3 is a BIF, so the module `lists` need not be loaded.
now_ns() ->
    {time, Time} = lists:keyfind(time, 1, erlang:system_info(os_monotonic_time_source)),
    erlang:convert_time_unit(Time, native, nanosecond).

%% Installed systems read their port from a variable of their own.
prepare() ->
    case {os:getenv("UNIBEAM_PORT_VARIABLE"), os:getenv("PORT")} of
        {Name, Port} when is_list(Name), is_list(Port) -> true = os:putenv(Name, Port);
        _ -> true
    end,
    configure().

%% Some releases want their sys.config in a writable place, or filled in from the environment. A shell
%% script does that elsewhere; there is none here.
configure() ->
    case {os:getenv("UNIBEAM_CONFIG_FROM"), os:getenv("UNIBEAM_CONFIG_TO")} of
        {From, To} when is_list(From), is_list(To) ->
            Filled = case prim_file:read_file(From) of
                {ok, Text} -> fill(Text, <<>>);
                Unreadable -> give_up(From, Unreadable)
            end,
            case prim_file:write_file(To, Filled) of
                ok -> ok;
                Unwritable -> give_up(To, Unwritable)
            end;
        _ ->
            ok
    end.

%% `${NAME}` and `${NAME:-default}` become the environment's values, as relx' start script has it.
fill(<<"${", Rest/binary>>, Done) ->
    {Inside, More} = upto_brace(Rest, <<>>),
    fill(More, <<Done/binary, (value(Inside, <<>>))/binary>>);
fill(<<Byte, Rest/binary>>, Done) ->
    fill(Rest, <<Done/binary, Byte>>);
fill(<<>>, Done) ->
    Done.

upto_brace(<<"}", Rest/binary>>, Inside) -> {Inside, Rest};
upto_brace(<<Byte, Rest/binary>>, Inside) -> upto_brace(Rest, <<Inside/binary, Byte>>);
upto_brace(<<>>, Inside) -> {Inside, <<>>}.

value(<<":-", Default/binary>>, Name) ->
    case os:getenv(binary_to_list(Name)) of
        false -> Default;
        "" -> Default;
        Value -> << <<Character/utf8>> || Character <- Value >>
    end;
value(<<Byte, Rest/binary>>, Name) ->
    value(Rest, <<Name/binary, Byte>>);
value(<<>>, Name) ->
    case os:getenv(binary_to_list(Name)) of
        false -> <<>>;
        Value -> << <<Character/utf8>> || Character <- Value >>
    end.

give_up(File, {error, Reason}) ->
    _ = erlang:display_string("\r\nunibeam: " ++ File ++ ": " ++ atom_to_list(Reason) ++ "\r\n"),
    erlang:halt(1).
