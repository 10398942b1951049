%% On the host: compiles expressions for machines, one after the other, for as long as its standard input is open.
%%
%% A request is {Language, Module, OtpOfTheMachine, Text, BoundVariables, CodePaths}, the answer {ok, Beam} or
%% {error, [Line]}, each as a term behind four bytes of length. The module exports run/1, which takes the variables
%% bound so far as a map and returns {Value, NewVariables}.
%%
%% In Erlang a variable that is first met on the left side of a `=` at the top of the expression is bound anew, also
%% where an earlier expression bound it: a cell that is run twice should do the same twice. Kept are the variables bound
%% there; those bound inside of a case, a fun or a comprehension are not.
-module(unibeam_compile).

-export([start/0]).

-define(FILE_NAME, "expression").
-define(BOUND, '_UnibeamBound').
-define(VALUE, 'UnibeamValue').

start() ->
    Port = open_port({fd, 0, 1}, [{packet, 4}, binary, eof]),
    serve(Port).

serve(Port) ->
    receive
        {Port, {data, Data}} ->
            Answer = try answer(binary_to_term(Data))
                     catch Class:Reason:Stack -> {error, [text("~0tP", [{Class, Reason, Stack}, 30])]}
                     end,
            true = port_command(Port, term_to_binary(Answer)),
            serve(Port);
        {Port, eof} ->
            erlang:halt(0)
    end.

answer({Language, Name, Otp, Text, Names, Paths}) ->
    ok = code:add_pathsz([unicode:characters_to_list(Path) || Path <- Paths]),
    Module = binary_to_atom(Name),
    Bound = [binary_to_atom(Variable) || Variable <- Names],
    case Language of
        <<"erlang">> -> erlang(Module, older(Otp), unicode:characters_to_list(Text), Bound);
        <<"elixir">> -> elixir(Module, Text, Bound)
    end.

%% The compiler can write for emulators that are a little older than its own.
older(Otp) ->
    case binary_to_integer(Otp) < list_to_integer(erlang:system_info(otp_release)) of
        true -> [binary_to_atom(<<"r", Otp/binary>>)];
        false -> []
    end.

%% ---- Erlang -----------------------------------------------------------------------------------------------

erlang(Module, Options, Text, Bound) ->
    case parse(Text) of
        {ok, []} ->
            {error, [<<"There is nothing but comments.">>]};
        {ok, Expressions} ->
            Forms = forms(Module, Expressions, Bound),
            case compile:forms(Forms, [return_errors, deterministic, no_spawn_compiler_process | Options]) of
                {ok, Module, Beam} -> {ok, Beam};
                {ok, Module, Beam, _} -> {ok, Beam};
                {error, Errors, _} -> {error, [complaint(Error) || {_, Found} <- Errors, Error <- Found]}
            end;
        {error, Error} ->
            {error, [complaint(Error)]}
    end.

parse(Text) ->
    case erl_scan:string(Text, 1) of
        {ok, Tokens, End} -> parse_all(sentences(Tokens, [], []), End, []);
        {error, Error, _} -> {error, Error}
    end.

%% The tokens up to each full stop; the last one may be left out.
sentences([{dot, _} = Dot | Tokens], Sentence, Done) ->
    sentences(Tokens, [], [lists:reverse([Dot | Sentence]) | Done]);
sentences([Token | Tokens], Sentence, Done) ->
    sentences(Tokens, [Token | Sentence], Done);
sentences([], [], Done) ->
    lists:reverse(Done);
sentences([], [Last | _] = Sentence, Done) ->
    sentences([{dot, element(2, Last)}], Sentence, Done).

parse_all([], _End, Done) ->
    {ok, lists:append(lists:reverse(Done))};
parse_all([Sentence | Sentences], End, Done) ->
    case erl_parse:parse_exprs(Sentence) of
        {ok, Expressions} -> parse_all(Sentences, End, [Expressions | Done]);
        {error, Error} -> {error, Error}
    end.

complaint({none, Who, What}) ->
    text("~ts", [Who:format_error(What)]);
complaint({Where, Who, What}) ->
    text("~w: ~ts", [erl_anno:line(Where), Who:format_error(What)]).

forms(Module, Expressions, Bound) ->
    {Fetched, Kept} = variables(Expressions, Bound),
    Fetch = [{match, 1, {var, 1, Name}, remote(erlang, map_get, [{atom, 1, Name}, {var, 1, ?BOUND}])} ||
             Name <- Fetched],
    {Before, [Last]} = lists:split(length(Expressions) - 1, Expressions),
    Result = {tuple, 1, [{var, 1, ?VALUE}, {map, 1, [{map_field_assoc, 1, {atom, 1, Name}, {var, 1, Name}} ||
                                                     Name <- Kept]}]},
    Body = Fetch ++ Before ++ [{match, 1, {var, 1, ?VALUE}, Last}, Result],
    [{attribute, 1, file, {?FILE_NAME, 1}}, {attribute, 1, module, Module}, {attribute, 1, export, [{run, 1}]},
     {function, 1, run, 1, [{clause, 1, [{var, 1, ?BOUND}], [], Body}]}].

remote(Module, Function, Arguments) ->
    {call, 1, {remote, 1, {atom, 1, Module}, {atom, 1, Function}}, Arguments}.

%% {The variables to fetch, those to keep}.
variables(Expressions, Bound) ->
    {_, Fetched, Kept} = lists:foldl(fun(Expression, State) -> top(Expression, Bound, State) end, {[], [], []},
                                     Expressions),
    {Fetched, Kept}.

top({match, _, Pattern, Expression}, Bound, State) ->
    {Seen, Fetched, Kept} = use(keys(Pattern), Bound, top(Expression, Bound, State)),
    New = lists:usort(mentioned(Pattern)) -- Seen,
    {New ++ Seen, Fetched, New ++ Kept};
top(Expression, Bound, State) ->
    use(Expression, Bound, State).

use(Terms, Bound, {Seen, Fetched, Kept}) ->
    New = lists:usort(mentioned(Terms)) -- Seen,
    {New ++ Seen, [Name || Name <- New, lists:member(Name, Bound)] ++ Fetched, Kept}.

mentioned({var, _, '_'}) -> [];
mentioned({var, _, Name}) when is_atom(Name) -> [Name];
mentioned(Form) when is_tuple(Form) -> mentioned(tuple_to_list(Form));
mentioned([Form | Forms]) -> mentioned(Form) ++ mentioned(Forms);
mentioned(_) -> [].

%% The parts of a pattern that are evaluated: keys of maps, sizes in binaries.
keys({map_field_exact, _, Key, Value}) -> [Key | keys(Value)];
keys({bin_element, _, Value, Size, _}) -> [Size | keys(Value)];
keys(Form) when is_tuple(Form) -> keys(tuple_to_list(Form));
keys([Form | Forms]) -> keys(Form) ++ keys(Forms);
keys(_) -> [].

%% ---- Elixir -----------------------------------------------------------------------------------------------

elixir(Module, Text, Bound) ->
    {ok, _} = application:ensure_all_started(elixir),
    'Elixir.Code':compiler_options([{docs, false}, {debug_info, false}, {ignore_module_conflict, true}]),
    Compile = fun() ->
        try
            Quoted = 'Elixir.Code':'string_to_quoted!'(Text, [{file, <<?FILE_NAME>>}]),
            'Elixir.Code':compile_quoted(quoted(Module, Quoted, Bound), <<?FILE_NAME>>)
        catch
            error:Error when is_map(Error) -> {failed, 'Elixir.Exception':message(Error)}
        end
    end,
    {Result, Diagnostics} = case erlang:function_exported('Elixir.Code', with_diagnostics, 1) of
        true -> 'Elixir.Code':with_diagnostics(Compile);
        false -> {Compile(), []}
    end,
    case Result of
        {failed, Message} ->
            Errors = [text("~ts: ~ts", [line(Position), What]) ||
                      #{severity := error, position := Position, message := What} <- Diagnostics],
            {error, case Errors of [] -> binary:split(Message, <<"\n">>, [global]); _ -> Errors end};
        [{Module, Beam}] ->
            _ = code:purge(Module),
            _ = code:delete(Module),
            {ok, Beam};
        _ ->
            {error, [<<"An expression cannot define modules; reload can.">>]}
    end.

line({Line, _}) -> integer_to_list(Line);
line(Line) when is_integer(Line) -> integer_to_list(Line);
line(_) -> "0".

%% defmodule MODULE do def run(bound) do x = :erlang.map_get(:x, bound); value = (...); {value, Map.new(binding())} end
%% end, in which our own variables have a context that binding/0 does not see.
quoted(Module, Quoted, Bound) ->
    Own = {unibeam_bound, [], unibeam},
    Value = {unibeam_value, [], unibeam},
    Names = lists:usort(names(Quoted)),
    Fetch = [{'=', [], [{Name, [], nil}, call(erlang, map_get, [Name, Own])]} ||
             Name <- Bound, lists:member(Name, Names)],
    Kept = call(maps, from_list, [{binding, [], []}]),
    Body = {'__block__', [], Fetch ++ [{'=', [], [Value, Quoted]}, {Value, Kept}]},
    {defmodule, [], [Module, [{do, {def, [], [{run, [], [Own]}, [{do, Body}]]}}]]}.

call(Module, Function, Arguments) ->
    {{'.', [], [Module, Function]}, [], Arguments}.

names({Name, _, Context}) when is_atom(Name), is_atom(Context) -> [Name];
names(Form) when is_tuple(Form) -> names(tuple_to_list(Form));
names([Form | Forms]) -> names(Form) ++ names(Forms);
names(_) -> [].

text(Format, Values) ->
    unicode:characters_to_binary(io_lib:format(Format, Values)).
