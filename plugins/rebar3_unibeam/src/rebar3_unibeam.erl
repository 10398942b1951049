%% `rebar3 unibeam image [OPTIONS]`: the project becomes a release and its machine image, by the `unibeam` program,
%% which gets the options as they are (unibeam build --help lists them). What it says is shown as it comes, and its
%% exit status becomes rebar3's.
%%
%% In rebar.config: {unibeam, [{name, "web"}, {args, ["--port", "8080"]}, {program, "/path/to/unibeam"}]}, all optional.
-module(rebar3_unibeam).
-behaviour(provider).

-export([init/1, do/1, format_error/1]).

init(State) ->
    Provider = providers:create([
        {name, image},
        {namespace, unibeam},
        {module, ?MODULE},
        {bare, true},
        {deps, []},
        {example, "rebar3 unibeam image --target linux,oci+slim"},
        {short_desc, "Make a machine image of this project."},
        {desc, "Make a machine image of this project with the program unibeam, which gets all options: "
               "'unibeam build --help' says what they are. A first word that is no option is the image's name."},
        {opts, [option(Word, undefined) || Word <- switches()] ++ [option(Word, string) || Word <- values()]}]),
    {ok, rebar_state:add_provider(State, Provider)}.

%% rebar3 wants to know the options beforehand; a test compares them with those of unibeam.
switches() -> ["shake"].

values() ->
    ["lang", "target", "port", "app", "flag", "kernel", "erts", "keep", "drop", "compression", "emit", "fallback",
     "guard", "heart", "restarts"].

option(Word, Type) ->
    {list_to_atom(Word), undefined, Word, Type, "see unibeam build --help"}.

do(State) ->
    Own = rebar_state:get(State, unibeam, []),
    {Name, Options} = name(rebar_state:command_args(State), Own, State),
    case program(Own) of
        false ->
            {error, {?MODULE, no_program}};
        Program ->
            Arguments = proplists:get_value(args, Own, []) ++ Options,
            case run(Program, ["build", Name, "--from", rebar_state:dir(State) | Arguments]) of
                0 -> {ok, State};
                Status ->
                    %% unibeam has said why, and its status says which kind of failure it was.
                    rebar_api:debug("unibeam ended with ~b", [Status]),
                    erlang:halt(Status)
            end
    end.

format_error(no_program) ->
    "unibeam is not on the PATH. Install it (pip install unibeam-nb), or name it in rebar.config: "
    "{unibeam, [{program, \"/path/to/unibeam\"}]}.".

%% The first word where it is no option, what rebar.config says, or the directory's name in unibeam's letters.
name([[First | _] = Word | Rest], _, _) when First =/= $- -> {Word, Rest};
name(Options, Own, State) ->
    Directory = filename:basename(rebar_state:dir(State)),
    {proplists:get_value(name, Own, string:lowercase(Directory)), Options}.

program(Own) ->
    case proplists:get_value(program, Own) of
        undefined -> os:find_executable("unibeam");
        Path -> os:find_executable(Path)
    end.

run(Program, Arguments) ->
    Port = open_port({spawn_executable, Program},
                     [{args, Arguments}, exit_status, binary, stderr_to_stdout, use_stdio, hide]),
    show(Port).

show(Port) ->
    receive
        {Port, {data, Bytes}} ->
            ok = file:write(standard_io, Bytes),
            show(Port);
        {Port, {exit_status, Status}} ->
            Status
    end.
